"""What a request to stop does within a long computation between two batches, such as a measurement of the curvature."""

import logging
import time

import lightning as L

log = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
"""Seconds that a computation may take after a request to stop: if it ends within them, nothing is repeated."""


class Computation:
    """A computation between two batches, from now on, which asks after each of its parts whether it may continue.

    Args:
        trainer: The Trainer of the fit.
        name: Of the computation, in the line about leaving it.
        repeated: What a resume repeats then.
    """

    def __init__(self, trainer: L.Trainer, name: str, repeated: str) -> None:
        self.trainer = trainer
        self.name = name
        self.repeated = repeated
        self.began = time.monotonic()

    def leave_if_asked(self) -> None:
        """Let the callbacks that end a run on a signal do so, if the grace is over.

        With several processes nothing is done: those that have no signal would wait for the others for ever.

        Raises:
            Interrupted: Such a callback ends the run.
        """
        if self.trainer.world_size > 1:
            return
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Stopping):
                callback.leave(self)

    def has_had_its_time(self, asked: float) -> bool:
        """Return whether the grace is over, which begins with the request, or with the computation if that is later.

        Args:
            asked: When a stop was requested, by `time.monotonic()`.
        """
        return time.monotonic() - max(asked, self.began) > GRACE_SECONDS

    def log_loss(self) -> None:
        """Log what is lost by leaving."""
        log.warning(
            "leaving %s: it takes longer than %g s; a resume repeats %s", self.name, GRACE_SECONDS, self.repeated
        )


class Stopping(L.Callback):
    """Base class of the callbacks that end a run on a signal."""

    def leave(self, computation: Computation) -> None:
        """End the run within a computation if that was asked for and the grace is over.

        Raises:
            Interrupted: No handler was installed before.
        """
