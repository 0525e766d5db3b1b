"""Ctrl-C once: finish the epoch, save, stop. Twice: stop now."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

import lightning as L
from nas_lightning.errors import Interrupted

log = logging.getLogger(__name__)


class InterruptAtEpochEnd(L.Callback):
    """Turns the first interrupt into an orderly end of the epoch."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over SIGINT, where that is possible."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the fit after this epoch; the checkpoint is written right after this."""
        if self.requested:
            trainer.should_stop = True

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give SIGINT back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise Interrupted("stopped at once; the last finished epoch is saved")
        self.requested = True
        log.warning("interrupted: finishing the epoch, then saving; press Ctrl-C again to stop now")
