"""Processes that load images: how they begin and end, and how their end becomes an error between two batches."""

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from typing import Any

from nas_lightning.core.errors import LoadingError
from nas_lightning.core.workers import cannot_hand_over, reason_of_end, reason_of_start


def begin(worker: int) -> None:
    """Prepare a process that loads images; it runs there."""
    _block_signals()
    # A queue sends batches from a thread of its own, which prints an error and drops the batch: the training would wait
    # for it for ever. So the process ends, with a code that says why.
    Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(error: Exception, batch: Any) -> None:
    code = cannot_hand_over(error)
    if code is None:
        traceback.print_exception(error)
    os._exit(code or 1)


def _block_signals() -> None:
    """Block the signals of a cluster in a worker, which has inherited the handlers of its parent.

    SLURM sends them to all processes of a job at once; a worker that ended would end the training, too. A SIGTERM
    from the parent itself still ends the worker.
    """
    signals = {signal.SIGTERM, signal.SIGUSR2}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def wait() -> None:
        while True:
            info = signal.sigwaitinfo(signals)
            if info.si_signo == signal.SIGTERM and info.si_pid == os.getppid():
                os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


class _Watch:
    """What the main process knows of its workers.

    Torch's handler of SIGCHLD raises an error wherever the program is, in the middle of a step or of a save. `hear`
    keeps the error until the next batch is due, so that the state after the last one can be saved.
    """

    def __init__(self) -> None:
        self.fetching = False
        self.failure: RuntimeError | None = None
        self._torchs: Any = None

    def install(self) -> None:
        """Take the place of torch's handler, which it installs with the first workers of a process."""
        if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
            return
        found = signal.getsignal(signal.SIGCHLD)
        if callable(found) and found != self.hear:
            self._torchs = found
            signal.signal(signal.SIGCHLD, self.hear)

    def hear(self, number: int, frame: Any) -> None:
        """Ask torch's handler whether a worker has failed."""
        try:
            self._torchs(number, frame)
        except RuntimeError as error:
            self.failure = error
            if self.fetching:
                raise


_WATCH = _Watch()


@contextmanager
def reporting_end() -> Iterator[None]:
    """Raise the failure of workers, in the block or since the last one, as a LoadingError."""
    _WATCH.fetching = True
    try:
        if _WATCH.failure is not None:
            raise _WATCH.failure
        yield
    except (RuntimeError, OSError) as error:
        # Torch notices a dead worker by two ways, of which only the signal says what killed it.
        reason = reason_of_end(_WATCH.failure or error)
        _WATCH.failure = None
        if reason is None:
            raise
        raise LoadingError(reason) from error
    finally:
        _WATCH.fetching = False


@contextmanager
def reporting_start() -> Iterator[None]:
    """Raise that workers cannot be started in the block as a LoadingError."""
    _WATCH.failure = None
    try:
        yield
    except OSError as error:
        reason = reason_of_start(error)
        if reason is None:
            raise
        raise LoadingError(reason) from error
    _WATCH.install()
