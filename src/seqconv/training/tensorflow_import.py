"""TensorFlow, imported in a thread while the data is read; docs/adr/0008 has what each part of this saves."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seqconv.config.errors import ConfigError, Problem
from seqconv.console import NativeNotices, native_notices_in_log

if TYPE_CHECKING:
    from seqconv.config.schema import Config

# Keras wraps them where they are installed, and does without them where they are not. Nothing of ours uses the
# wrappers, and these are more than a third of the import's time; what uses the libraries themselves imports them later.
WITHOUT = ("matplotlib", "pandas", "sklearn")
# What both threads use. Two threads that import parts of one package at the same time can wait for each other, and
# Python then breaks one of them off; so these are there before the second thread is.
SHARED = (
    "numpy",
    "numpy.ma",
    "numpy.random",
    "rich.console",
    "rich.table",
    "concurrent.futures.thread",
    "html.entities",
)


class _Import:
    """One import in a thread of its own."""

    def __init__(self) -> None:
        self._notices = NativeNotices(people=True)
        self._ended = threading.Event()
        self._error: BaseException | None = None
        # A daemon: a second interrupt ends the process without waiting for it.
        self._thread = threading.Thread(target=self._run, name="import-tensorflow", daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: if the system has no more threads.
        """
        self._notices.catch()
        try:
            self._thread.start()
        except RuntimeError:
            self._notices.release()
            raise

    def finish(self) -> None:
        """Wait for it. A signal breaks off the waiting only.

        Raises:
            ImportError: as the import did.
        """
        # Not `Thread.join`: broken off by a signal, it may take the thread for ended.
        self._ended.wait()
        self._notices.release()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            _import_quickly()
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()


_allowed = False
_under_way: _Import | None = None


def allow() -> None:
    """Let `begin` start a thread: this process does one command, and calls `wait` before it ends."""
    global _allowed  # noqa: PLW0603
    _allowed = True


def begin(config: Config) -> None:
    """Begin the import in a thread, if that is allowed and worth it: not while the data has to be downloaded.

    Args:
        config: checked, so that nothing but the content of the data can be wrong.
    """
    global _under_way  # noqa: PLW0603
    if not _allowed or _under_way is not None or "tensorflow" in sys.modules:
        return
    if not config.dataset.is_local():
        return
    for name in SHARED:
        importlib.import_module(name)
    started = _Import()
    with contextlib.suppress(RuntimeError):  # Then it is imported where it is needed.
        started.start()
        _under_way = started


def finish() -> None:
    """Wait for the import, or make it here where none was begun.

    Raises:
        ImportError: as the import did.
    """
    global _under_way  # noqa: PLW0603
    if _under_way is not None:
        _under_way.finish()
        _under_way = None
    elif "tensorflow" not in sys.modules:
        with native_notices_in_log():
            _import_quickly()


def wait() -> None:
    """Wait for an import under way, whatever comes of it: Python may not end under native code at work in a thread."""
    with contextlib.suppress(Exception):
        if _under_way is not None:
            _under_way.finish()


def _import_quickly() -> None:
    """Import TensorFlow and Keras, and let TensorFlow look for devices."""
    # Else the first run takes all of a GPU's memory, and the other jobs of a sweep find none.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    # XLA writes a line for every compilation otherwise; warnings still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    import_modules()
    import tensorflow as tf

    tf.config.list_physical_devices()  # Looks for a GPU, and says so where it finds none.


def import_modules() -> None:
    """Import TensorFlow, Keras and numba and nothing else: no device is looked for, no thread begun."""
    with _without_companions(), _without_collection():
        import keras  # noqa: F401
        import numba  # noqa: F401
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _without_companions() -> Iterator[None]:
    """Let Keras take optional packages for missing: None in `sys.modules` is how Python says so."""
    absent = [name for name in WITHOUT if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector from going through what is imported, now and later.

    It takes a third of a second each time, and `keras.backend.clear_session` asks for it before every model.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def device_names() -> list[str]:
    """What TensorFlow computes on: the GPUs by the names their maker gives them, or "CPU"."""
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    gpus = tf.config.list_physical_devices("GPU")
    return [str(details(gpu).get("device_name", gpu.name)) for gpu in gpus] or ["CPU"]


def use_threads(count: int) -> None:
    """Let TensorFlow compute with so many threads.

    Raises:
        ConfigError: if it has begun to compute with another number in this process.
    """
    import tensorflow as tf

    threading = tf.config.threading
    set_by = (
        threading.set_intra_op_parallelism_threads,
        threading.set_inter_op_parallelism_threads,
    )
    before = threading.get_intra_op_parallelism_threads()
    if before == count:
        return
    try:
        for set_threads in set_by:
            set_threads(count)
    except RuntimeError as error:
        used = f"{before}" if before else "one for each core"
        raise ConfigError(
            [
                Problem(
                    "threads",
                    f"TensorFlow has computed in this process already, with another number of threads ({used}); "
                    f"received {count}. Give each number a process of its own, as hydra/launcher=seqconv does",
                )
            ]
        ) from error


@contextlib.contextmanager
def deterministic_operations(wanted: bool) -> Iterator[None]:
    """Let TensorFlow sum in one order only, for the time of a block.

    Its own sums of a gradient over tokens, for one, have another order each time otherwise. A step that is compiled
    as a whole does not need it on a CPU, and XLA refuses the gradient of a maximum pooling under it.
    """
    # TensorFlow exports the switch to turn it on, not the one to turn it off for the next run of the process.
    from tensorflow.python.framework import config

    before = config.is_op_determinism_enabled()
    _set_determinism(wanted)
    try:
        yield
    finally:
        _set_determinism(before)


def _set_determinism(wanted: bool) -> None:
    from tensorflow.python.framework import config

    (config.enable_op_determinism if wanted else config.disable_op_determinism)()
