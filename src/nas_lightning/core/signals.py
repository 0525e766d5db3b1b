"""Signals that ask a program to end: handlers for the time of a block, and what they do where no run has begun."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nas_lightning.core.errors import Interrupted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR2") if hasattr(signal, name))
"""Signals by which a cluster announces the end of a job: SIGTERM by SLURM, SIGUSR2 by submitit."""

NOTHING_TO_SAVE = "there is no state to save, repeat the command"

Handlers = dict[int, Any]


@contextmanager
def taking_over(
    handler: Callable[[int, FrameType | None], None], numbers: Sequence[int] = SIGNALS
) -> Iterator[Handlers]:
    """Install a signal handler within the block, and yield the handlers before, which are restored at its end."""
    # Python allows it in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield {}
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield before
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextmanager
def ending_in_one_line() -> Iterator[None]:
    """Raise `Interrupted` on such a signal within the block, unless its handler is another or it is ignored.

    A run takes the signals over while it trains; the handlers of this block are for what keeps no state: reading
    images, reports, predictions.
    """
    numbers = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    with taking_over(_Ending(), numbers):
        yield


class _Ending:
    """The handler of `ending_in_one_line`; a class, so that `pass_on` knows it from a cluster's handler."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a process that was forked, which nobody hears
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise Interrupted(f"stopped by {signal.Signals(number).name}; {NOTHING_TO_SAVE}")


def pass_on(number: int | None, before: Any, line: str) -> None:
    """Call the handler that was installed before; without one, end the run.

    Args:
        number: The signal; None stands for the time limit.
        before: The handler before.
        line: Message that the run ends with.

    Raises:
        Interrupted: There was no handler, or that of `ending_in_one_line`, which knows no run.
    """
    if number is not None and callable(before) and not isinstance(before, _Ending):
        before(number, None)
    else:
        raise Interrupted(line)
