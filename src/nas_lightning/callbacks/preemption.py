"""SIGTERM, SIGUSR2 and `trainer.max_time`: save the exact state between two batches, then leave."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from nas_lightning.callbacks.checkpoint import EpochCheckpoint
from nas_lightning.callbacks.stopping import Computation, Stopping
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.signals import SIGNALS, Handlers, pass_on, taking_over
from nas_lightning.runs.folder import RunFolder

log = logging.getLogger(__name__)


class Preemption(Stopping):
    """Saves an exact state on such a signal or at `trainer.max_time`, then passes the signal on to the handler before.

    By default that ends the run with code 130. In a job of submitit the handlers before are submitit's: SIGUSR2
    requeues the job, and SIGTERM does nothing, so training continues until the machine is taken away.
    """

    def __init__(self) -> None:
        self._pending: int | None = None
        self._asked = 0.0
        self._before: Handlers = {}
        self._trainer: L.Trainer | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals during a fit; one after its last batch is passed on at its end."""
        with taking_over(self._handle) as self._before:
            yield
            trainer = self._trainer
            if trainer is not None and trainer.strategy.reduce_boolean_decision(self._pending is not None, all=False):
                self._answer(trainer.default_root_dir)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Forget the time of the parts before: a resumed run has all of its `trainer.max_time` again."""
        timers = {timer.state_key for timer in _timers(trainer)}
        checkpoint["callbacks"] = {key: state for key, state in checkpoint["callbacks"].items() if key not in timers}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install the handlers anew."""
        self._trainer = trainer
        # Lightning has installed its own since `listening` began, and they would end the epoch too early.
        for number in self._before:
            signal.signal(number, self._handle)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Pass on a signal that came after the last batch of an epoch: the end of that epoch is saved."""
        if trainer.strategy.reduce_boolean_decision(self._pending is not None, all=False):
            self._answer(trainer.default_root_dir)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and leave, on all ranks after the same batch."""
        checkpoint = next(c for c in trainer.checkpoint_callbacks if isinstance(c, EpochCheckpoint))
        # Several processes save whole epochs only. Each part of a run that is limited in time has to save one, or none
        # would come further than the part before.
        gains = trainer.world_size == 1 or checkpoint.has_saved
        wanted = self._pending is not None or (gains and out_of_time(trainer))
        if not trainer.strategy.reduce_boolean_decision(wanted, all=False):
            return
        if checkpoint.save_in_epoch(trainer, batch_idx):
            self._answer(trainer.default_root_dir)

    def leave(self, computation: Computation) -> None:
        """Pass on a signal after the grace; until then, the end of the epoch would save it and pass the signal on."""
        if self._pending is not None and computation.has_had_its_time(self._asked):
            computation.log_loss()
            self._answer(computation.trainer.default_root_dir)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Only a note: a signal may arrive in the middle of a step, where no state is whole.
        log.warning("%s: saving the exact state after this batch, or epoch", signal.Signals(number).name)
        self._pending, self._asked = number, time.monotonic()

    def _answer(self, folder: str) -> None:
        number, self._pending = self._pending, None
        name = "trainer.max_time" if number is None else signal.Signals(number).name
        pass_on(
            number, self._before.get(number or 0), f"stopped by {name}; continue with {RunFolder(folder).command()}"
        )


@contextmanager
def stopping_at_once(folder: RunFolder) -> Iterator[None]:
    """End a run at once on such a signal outside of a fit, when the folder holds an exact state anyway."""
    before: Handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        line = f"stopped by {signal.Signals(number).name}; continue with {folder.command()}"
        pass_on(number, before[number], line)

    with taking_over(handle):
        yield


def out_of_time(trainer: L.Trainer) -> bool:
    """Return whether `trainer.max_time` ended the fit: the phase is then unfinished and can be resumed."""
    left = [timer.time_remaining() for timer in _timers(trainer)]  # None: it only measures
    return any(seconds is not None and seconds <= 0 for seconds in left)


class TimeLimit(Timer):
    """`trainer.max_time`: ends a fit after the epoch in which it is over; `Preemption` ends it after the batch.

    Lightning's own would end the epoch itself after the batch, also where no state between two batches is saved: the
    rest of that epoch would be lost.

    Args:
        duration: `DD:HH:MM:SS` or `HH:MM:SS`, or keyword arguments of `timedelta`; each fit of each start has it anew.

    Raises:
        ConfigError: It is no duration.
    """

    def __init__(self, duration: Any) -> None:
        if isinstance(duration, str) and duration.count(":") == 2:
            duration = f"00:{duration}"
        try:
            super().__init__(duration, interval="epoch", verbose=False)
            seconds = self.time_remaining()
        except (MisconfigurationException, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"trainer.max_time={duration}: is no duration; write days, hours, minutes and seconds,"
                " trainer.max_time=00:12:00:00"
            ) from error
        assert seconds is not None
        self.seconds = seconds

    @property
    def state_key(self) -> str:
        """The key of Lightning's own timer, which checkpoints of before contain."""
        return "Timer"


def _timers(trainer: L.Trainer) -> list[Timer]:
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, Timer)]
