"""How compiled kernels of our own stand in a TensorFlow graph: one operation that calls them, on all threads.

XLA cannot compile such an operation and no other program can run it, so each layer has a way of TensorFlow's
operations too, which is taken inside `tensorflow_alone`, on a GPU, for other types than float32, and where numba may
not compile.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from seqconv.machine import available_cores
from seqconv.models.kernels.compiling import CAN_COMPILE

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
    if _ALONE.get() or not CAN_COMPILE or (has_gpu() and not beside_gpu):
        return False
    return bool(tf.as_dtype(dtype) == tf.float32)


@functools.cache
def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def call_kernel(
    function: Callable[..., Any],
    tensors: Sequence[Tensor],
    shapes: Sequence[Any],
    types: Sequence[Any] | None = None,
) -> list[Tensor]:
    """An operation that calls a function with arrays, left out of a graph that has no use for it.

    Args:
        function: from arrays to an array, or to a list of several.
        tensors: its arguments.
        shapes: of what it returns, as far as they are known.
        types: of what it returns; None: float32.
    """
    types = list(types or [tf.float32] * len(shapes))
    one_or_all = types if len(types) > 1 else types[0]
    found = tf.nest.flatten(tf.numpy_function(function, tensors, one_or_all, stateful=False))
    return [tf.ensure_shape(tensor, shape) for tensor, shape in zip(found, shapes, strict=True)]


def in_parallel(kernel: Callable[..., None], count: int, size: int, *arguments: Any) -> None:
    """Call `kernel(turns, count, size, *arguments)` in each thread, for parts of `range(count)`.

    Which part is next a kernel finds itself (`seqconv.models.kernels.sharing.taken`): one call of it from Python takes
    0.01 ms, during which other threads wait for Python's lock.

    Args:
        kernel: gives the same, whoever takes which part.
        count: how much there is to do.
        size: of a part.
        arguments: of the kernel.
    """
    turns = np.zeros(1, np.int64)
    address = turns.ctypes.data
    on_threads(lambda _: kernel(address, count, size, *arguments), -(-count // size))


def on_threads(work: Callable[[Iterator[int]], None], count: int) -> None:
    """Share out the numbers below `count` to as many threads as TensorFlow computes with.

    Args:
        work: called in each thread; takes numbers, until none is left, and does what each stands for. The result may
            not depend on who takes which.
        count: see above.
    """
    # `next` of a range is one step for Python: no number is taken twice.
    numbers = iter(range(count))
    others = [_Share(work, numbers) for _ in range(min(_threads(), count) - 1)]
    for other in others:
        _queue(_threads()).put(other)
    try:
        work(numbers)
    finally:
        # One that has not begun would find nothing to do; the others still use the arrays.
        errors = [other.end() for other in others]
    for error in errors:
        if error is not None:
            raise error


class _Share:
    """What another thread is to do. Locks and queues of C: a `Future` costs 0.1 ms, as much as many a kernel."""

    def __init__(self, work: Callable[[Iterator[int]], None], numbers: Iterator[int]):
        self.work, self.numbers = work, numbers
        self.begun = threading.Lock()
        self.ended: SimpleQueue[Exception | None] = SimpleQueue()

    def run(self) -> None:
        """Do it, unless that is no longer wanted."""
        if not self.begun.acquire(blocking=False):
            return
        try:
            self.work(self.numbers)
        except Exception as error:
            self.ended.put(error)
        else:
            self.ended.put(None)

    def end(self) -> Exception | None:
        """Wait for what has begun; the error that it ended with."""
        return None if self.begun.acquire(blocking=False) else self.ended.get()


@functools.cache
def _threads() -> int:
    """As many as TensorFlow has for one operation, but no more than there are cores that the process may use.

    From its first operation on the number stays, and to ask for it takes as long as a small kernel.
    """
    cores = available_cores()
    # More would take turns: parts that one of them has taken wait while it does not run.
    return min(int(tf.config.threading.get_intra_op_parallelism_threads()) or cores, cores)


@functools.cache
def _queue(threads: int) -> SimpleQueue[_Share]:
    """What threads beside the one that calls wait for; made when first needed, in the process that computes."""
    queue: SimpleQueue[_Share] = SimpleQueue()

    def wait() -> None:
        while True:
            queue.get().run()

    for number in range(1, threads):
        threading.Thread(target=wait, name=f"kernels_{number}", daemon=True).start()
    return queue
