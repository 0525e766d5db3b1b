"""What a request to stop does within a long computation between two batches, such as a measurement of the curvature."""

import lightning as L


class Stopping(L.Callback):
    """Base class of the callbacks that end a run on a signal."""

    def leave(self, trainer: L.Trainer) -> None:
        """End the run at once if that was asked for; its last saved state is that of the epoch before.

        Raises:
            Interrupted: It was, and no handler was installed before.
        """


def leave_if_asked(trainer: L.Trainer) -> None:
    """Let every such callback end the run.

    With several processes nothing is done: those that have no signal would wait for the others for ever.
    """
    if trainer.world_size > 1:
        return
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Stopping):
            callback.leave(trainer)
