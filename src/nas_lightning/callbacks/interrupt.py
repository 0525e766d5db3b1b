"""Ctrl-C: the first finishes the epoch, saves and stops; the second stops at once."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import lightning as L

from nas_lightning.callbacks.stopping import Computation, Stopping
from nas_lightning.core.errors import Interrupted
from nas_lightning.core.signals import taking_over
from nas_lightning.runs.folder import RunFolder

log = logging.getLogger(__name__)


class InterruptAtEpochEnd(Stopping):
    """Turns the first interrupt into an orderly end of the epoch.

    Attributes:
        requested: True once an interrupt has arrived; after the end of an epoch, in any process.
    """

    def __init__(self) -> None:
        self.requested = False
        self._asked = 0.0
        self._folder: RunFolder | None = None

    @contextmanager
    def listening(self, folder: RunFolder) -> Iterator[None]:
        """Handle SIGINT during a fit, where that is possible, and restore its handler afterwards.

        Args:
            folder: The run, which a second interrupt names.
        """
        self._folder = folder
        # Not in hooks of the callback: at its own teardown Lightning restores the handlers that it found when the fit
        # began, and would leave ours in place for ever.
        with taking_over(self._handle, (signal.SIGINT,)):
            yield

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the fit after this epoch; the checkpoint callback, which runs last, still saves it."""
        # The signal may have reached some processes only; all have to stop together.
        self.requested = trainer.strategy.reduce_boolean_decision(self.requested, all=False)
        if self.requested:
            trainer.should_stop = True

    def leave(self, computation: Computation) -> None:
        """Stop after the grace, if the interrupt came within the computation; one before it waits for its end."""
        if self.requested and self._asked > computation.began and computation.has_had_its_time(self._asked):
            computation.log_loss()
            command = RunFolder(computation.trainer.default_root_dir).command()
            raise Interrupted(f"stopped within an epoch; continue with {command}")

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            advice = "" if self._folder is None else f"; continue with {self._folder.command()}"
            raise Interrupted(f"stopped at once; the last finished epoch is saved{advice}")
        self.requested, self._asked = True, time.monotonic()
        log.warning("interrupted: finishing the epoch, then saving; press Ctrl-C again to stop now")
