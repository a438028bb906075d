"""TensorFlow, imported in a thread of its own while the data is read; see docs/adr/0008."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from seqconv.console import NativeNotices, native_notices_in_log

if TYPE_CHECKING:
    from seqconv.config import Config

# Keras wraps them where they are installed, and does without them where they are not. Nothing of ours uses the
# wrappers, and these two are a third of the import's time; what uses the libraries themselves imports them then.
WITHOUT = ("matplotlib", "sklearn")
# What both threads use. Two threads that import parts of one package at the same time can wait for each other, and
# Python then breaks one of them off; so these are there before the second thread is.
SHARED = (
    "numpy",
    "numpy.ma",
    "numpy.random",
    "rich.console",
    "rich.table",
    "concurrent.futures.thread",
)


class Loading:
    """The import of TensorFlow and Keras: begun early in a process of our own, elsewhere made where it is needed."""

    def __init__(self) -> None:
        self._own_process = False
        self._notices: NativeNotices | None = None
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def expect_own_process(self) -> None:
        """Allow `begin`: nothing but one command goes on in this process, and it ends with `leave`."""
        self._own_process = True

    def begin(self, config: Config) -> None:
        """Begin the import, unless the data has to be fetched first.

        Args:
            config: checked, so that nothing but the content of the data can be wrong.
        """
        if not self._own_process or self._notices is not None or "tensorflow" in sys.modules:
            return
        may_be_read_beside = getattr(config.dataset, "may_be_read_beside", None)
        if may_be_read_beside is not None and not may_be_read_beside():
            return
        for name in SHARED:
            importlib.import_module(name)
        sys.meta_path.insert(0, _HIDDEN)
        notices = NativeNotices(people=True)
        notices.catch()
        # A daemon: a process that has to end does not wait for it.
        thread = threading.Thread(target=self._import, name="import-tensorflow", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # No more threads: then it is imported where it is needed.
            notices.release()
        else:
            self._notices = notices

    @property
    def under_way(self) -> bool:
        """Whether the thread is at work."""
        return self._notices is not None and not self._ended.is_set()

    def finish(self) -> None:
        """Wait for the import, or make it here where none was begun. A signal breaks off the waiting only.

        Raises:
            ImportError: as the import did.
        """
        if self._notices is not None:
            # Not `Thread.join`: broken off by a signal, it may take the thread for ended.
            self._ended.wait()
            self._notices.release()
            self._notices = None
            if self._error is not None:
                raise self._error
        elif "tensorflow" not in sys.modules:
            with native_notices_in_log():
                import_quickly()
        # What was imported, and what has been read, is there to stay: the garbage collector leaves it alone.
        gc.freeze()

    def leave(self, exit_code: int) -> NoReturn:
        """End the process, without the import where that is still under way.

        Python takes itself apart at the end of a process; native code at work in a thread may crash of it.
        """
        if not self.under_way:
            sys.exit(exit_code)
        with contextlib.suppress(Exception):
            logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(exit_code)

    def _import(self) -> None:
        try:
            import_quickly()
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()


LOADING = Loading()


def import_quickly() -> None:
    """Import TensorFlow and Keras, and let TensorFlow look for devices."""
    # XLA tells of every compilation otherwise; warnings still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    with _without_companions(), _without_collection():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()  # Looks for a GPU, and says so where it finds none.


class _Hidden:
    """A finder that finds, for one thread, that the packages of `WITHOUT` are not there.

    It stays in its place: another thread may be going through `sys.meta_path`.
    """

    thread: int | None = None

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in WITHOUT and threading.get_ident() == self.thread:
            raise ModuleNotFoundError(f"{name} is left out while TensorFlow is imported", name=name)


_HIDDEN: Any = _Hidden()


@contextlib.contextmanager
def _without_companions() -> Iterator[None]:
    """Let Keras take optional packages for missing."""
    if _HIDDEN not in sys.meta_path:
        sys.meta_path.insert(0, _HIDDEN)
    _HIDDEN.thread = threading.get_ident()
    try:
        yield
    finally:
        _HIDDEN.thread = None


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector from going through what is imported again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
