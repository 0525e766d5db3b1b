"""Ctrl-C once: finish the epoch, save, stop. Twice: stop now."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import lightning as L

from nas_lightning.callbacks.preemption import taking_over
from nas_lightning.core.errors import Interrupted

log = logging.getLogger(__name__)


class InterruptAtEpochEnd(L.Callback):
    """Turns the first interrupt into an orderly end of the epoch."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT over for a fit, where that is possible, and give it back.

        Not done in hooks: at its own teardown Lightning puts back the handlers that it found when the fit began, ours
        among them.
        """
        with taking_over(self._handle, (signal.SIGINT,)):
            yield

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the fit after this epoch; the checkpoint is written right after this."""
        self.requested = trainer.strategy.reduce_boolean_decision(self.requested, all=False)
        if self.requested:
            trainer.should_stop = True

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise Interrupted("stopped at once; the last finished epoch is saved")
        self.requested = True
        log.warning("interrupted: finishing the epoch, then saving; press Ctrl-C again to stop now")
