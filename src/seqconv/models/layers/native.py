"""How compiled kernels of our own stand in a TensorFlow graph: one operation that calls them, on all threads.

XLA cannot compile such an operation and no other program can run it, so each layer has a way of TensorFlow's
operations too, which is taken inside `tensorflow_alone`, on a GPU and for other types than float32.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeAlias

import tensorflow as tf

Tensor: TypeAlias = Any  # TensorFlow comes without types

_ALONE = contextvars.ContextVar("tensorflow_alone", default=False)


@contextlib.contextmanager
def tensorflow_alone(wanted: bool = True) -> Iterator[None]:
    """Inside, layers are traced without kernels of our own: for XLA, and for what other programs are to run."""
    token = _ALONE.set(wanted)
    try:
        yield
    finally:
        _ALONE.reset(token)


def takes_kernels(dtype: Any, *, beside_gpu: bool = False) -> bool:
    """Whether a layer may use kernels of our own for numbers of a type.

    Args:
        dtype: of TensorFlow, or its name.
        beside_gpu: whether they are quicker even where there is a GPU, and data has to come and go.
    """
    if _ALONE.get() or (has_gpu() and not beside_gpu):
        return False
    return bool(tf.as_dtype(dtype) == tf.float32)


@functools.cache
def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def call_kernel(
    function: Callable[..., Any], tensors: Sequence[Tensor], shapes: Sequence[Any]
) -> list[Tensor]:
    """An operation that calls a function with arrays, left out of a graph that has no use for it.

    Args:
        function: from arrays to an array of float32, or to a list of several.
        tensors: its arguments.
        shapes: of what it returns, as far as they are known.
    """
    types = [tf.float32] * len(shapes) if len(shapes) > 1 else tf.float32
    found = tf.nest.flatten(tf.numpy_function(function, tensors, types, stateful=False))
    return [tf.ensure_shape(tensor, shape) for tensor, shape in zip(found, shapes, strict=True)]


def in_parallel(kernel: Callable[..., None], count: int, size: int, *arguments: Any) -> None:
    """Call `kernel(first, last, *arguments)` for parts of `range(count)`, see `on_threads`.

    Args:
        kernel: gives the same, wherever parts end.
        count: how much there is to do.
        size: of a part.
        arguments: of the kernel.
    """

    def work(parts: Iterator[int]) -> None:
        for part in parts:
            kernel(part * size, min((part + 1) * size, count), *arguments)

    on_threads(work, -(-count // size))


def on_threads(work: Callable[[Iterator[int]], None], count: int) -> None:
    """Share out the numbers below `count` to as many threads as TensorFlow computes with.

    Args:
        work: called in each thread; takes numbers, until none is left, and does what each stands for. The result may
            not depend on who takes which.
        count: see above.
    """
    # `next` of a range is one step for Python: no number is taken twice.
    numbers = iter(range(count))
    threads = min(_threads(), count)
    others = [_pool(_threads()).submit(work, numbers) for _ in range(threads - 1)]
    try:
        work(numbers)
    finally:
        # One that has not begun would find nothing to do; the others still use the arrays.
        wait([other for other in others if not other.cancel()])
    for other in others:
        if not other.cancelled():
            other.result()


def _threads() -> int:
    """As many as TensorFlow has for one operation: by default one for each core that the process may use."""
    asked = int(tf.config.threading.get_intra_op_parallelism_threads())
    if asked:
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads beside the one that calls; made when first needed, in the process that computes."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="kernels")
