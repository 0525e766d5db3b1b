"""SIGTERM, SIGUSR2 and `trainer.max_time`: save the exact state between two batches, then leave."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer

from nas_lightning.callbacks.checkpoint import EpochCheckpoint
from nas_lightning.core.errors import Interrupted
from nas_lightning.runs.folder import RunFolder

log = logging.getLogger(__name__)

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR2") if hasattr(signal, name))
"""What a cluster announces the end of a job with: SLURM by SIGTERM, submitit by SIGUSR2."""

Handlers = dict[int, Any]


class Preemption(L.Callback):
    """Turns such a signal into an exact state, and then into what it meant before.

    By default that ends the run with code 130. In a job of submitit its own handlers were there before: SIGUSR2 queues
    the job again, and SIGTERM does nothing, so training goes on until the machine is taken away.
    """

    def __init__(self) -> None:
        self._pending: int | None = None
        self._before: Handlers = {}
        self._trainer: L.Trainer | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen during a fit; what came after its last batch is answered at its end."""
        with taking_over(self._handle) as self._before:
            yield
            trainer = self._trainer
            if trainer is not None and trainer.strategy.reduce_boolean_decision(self._pending is not None, all=False):
                self._answer(trainer.default_root_dir)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning has put a handler of its own before this one, which would end the epoch too early."""
        self._trainer = trainer
        for number in self._before:
            signal.signal(number, self._handle)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What came after the last batch of an epoch: its end was saved."""
        if trainer.strategy.reduce_boolean_decision(self._pending is not None, all=False):
            self._answer(trainer.default_root_dir)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and leave; all ranks do so after the same batch."""
        wanted = self._pending is not None or out_of_time(trainer)
        if not trainer.strategy.reduce_boolean_decision(wanted, all=False):
            return
        checkpoint = next(c for c in trainer.checkpoint_callbacks if isinstance(c, EpochCheckpoint))
        if checkpoint.save_in_epoch(trainer, batch_idx):
            self._answer(trainer.default_root_dir)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        log.warning("%s: saving the exact state after this batch", signal.Signals(number).name)
        self._pending = number

    def _answer(self, folder: str) -> None:
        number, self._pending = self._pending, None
        name = "trainer.max_time" if number is None else signal.Signals(number).name
        pass_on(number, self._before.get(number or 0), f"stopped by {name}; continue with resume={RunFolder(folder)}")


@contextmanager
def stopping_at_once(folder: RunFolder) -> Iterator[None]:
    """End a run at once on such a signal, for all that is no fit: the folder holds an exact state all the time."""
    before: Handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        line = f"stopped by {signal.Signals(number).name}; continue with resume={folder}"
        pass_on(number, before[number], line)

    with taking_over(handle):
        yield


def pass_on(number: int | None, before: Any, line: str) -> None:
    """Let whoever listened before decide what a signal means; by default it ends the run.

    Raises:
        Interrupted: Nobody did.
    """
    if number is not None and callable(before):
        before(number, None)
    else:
        raise Interrupted(line)


@contextmanager
def taking_over(
    handler: Callable[[int, FrameType | None], None], numbers: Sequence[int] = SIGNALS
) -> Iterator[Handlers]:
    """Have signals handled, where that is possible; gives the handlers before, which come back at the end."""
    if threading.current_thread() is not threading.main_thread():
        yield {}
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield before
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


def out_of_time(trainer: L.Trainer) -> bool:
    """Whether `trainer.max_time` ended the fit: then the phase is not finished and can be resumed."""
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    left = [timer.time_remaining() for timer in timers]  # None: it only measures
    return any(seconds is not None and seconds <= 0 for seconds in left)
