"""Exact states of a run on the disk: one an epoch, and between two batches where one is asked for."""

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from nas_lightning.core.errors import NonFiniteError
from nas_lightning.runs import checkpoints, layout
from nas_lightning.runs.folder import RunFolder


class EpochCheckpoint(Checkpoint):
    """Saves `last.ckpt` after every epoch, and earlier epochs as far as they are wanted.

    The state before it stays as `previous.ckpt`, should the newest be damaged. Lightning's ModelCheckpoint counts
    optimizer steps, of which a search takes two a batch, and ignores time intervals under manual optimisation; a plain
    save has neither problem. Lightning runs checkpoint callbacks last, so the file holds what every other callback
    left.

    Args:
        folder: Where to save. `epoch=K.ckpt` is the state after K search epochs.
        snapshots: Keep `epoch=K.ckpt` after every so many search epochs; None keeps none.
        reach: Keep the last so many search epochs besides, for a control that may go back to them.
        minutes: Save between two batches, too, when the last save is so long ago; None saves after epochs only.
    """

    def __init__(
        self, folder: Path, snapshots: int | None = None, reach: int = 0, minutes: float | None = None
    ) -> None:
        self.folder = folder
        self.snapshots = snapshots
        self.reach = reach
        self.minutes = minutes
        self._saved_at = 0.0
        self._run: dict[str, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save where the last save is too long ago."""
        if self.minutes is None:
            return
        due = time.monotonic() - self._saved_at >= 60 * self.minutes
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            self.save_in_epoch(trainer, batch_idx)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save, and remove what can no longer be reached."""
        epoch = pl_module.search_epoch
        wanted = self.reach or self._is_snapshot(epoch)
        self._save(trainer, copy=layout.epoch_name(epoch) if wanted else None)
        if self.reach and trainer.is_global_zero:
            self._prune(epoch)

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Keep the state before a step that was refused, to look into; `last.ckpt` stays what is gone on from."""
        if isinstance(exception, NonFiniteError):
            trainer.save_checkpoint(self.folder / layout.NONFINITE, weights_only=False)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Say what wrote it and to which run it belongs."""
        if not self._run:
            self._run = {"format": checkpoints.FORMAT, "run": RunFolder(trainer.default_root_dir).fingerprint()}
        checkpoint["nas_lightning"] = self._run

    def save_in_epoch(self, trainer: L.Trainer, batch_idx: int) -> bool:
        """Save after a batch; a resume goes on with the next one.

        Returns:
            Whether a resume can go on from here or, with several processes, from the end of the epoch before: of what
            they sum up in an epoch, a state would hold the first one's part. Not where a validation follows or has
            come before in this epoch: that one the end of the epoch saves.
        """
        validates = trainer.val_check_batch or 0
        if trainer.check_val_every_n_epoch is None or batch_idx + 1 >= min(trainer.num_training_batches, validates):
            return False
        if trainer.world_size == 1:
            self._save(trainer)
        return True

    def _save(self, trainer: L.Trainer, copy: str | None = None) -> None:
        # All of the state; every rank takes part.
        trainer.save_checkpoint(self.folder / layout.NEXT, weights_only=False)
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            checkpoints.promote(self.folder, copy)

    def _is_snapshot(self, epoch: int) -> bool:
        return self.snapshots is not None and epoch % self.snapshots == 0

    def _prune(self, epoch: int) -> None:
        """Drop what is too old, and, after a rollback, the epochs of the attempt that was given up.

        One epoch more than the reach stays: a resume from `previous.ckpt` may need it.
        """
        for kept, path in layout.epoch_checkpoints(self.folder):
            if kept > epoch or (kept < epoch - self.reach - 1 and not self._is_snapshot(kept)):
                path.unlink()


class DurableIO(TorchCheckpointIO):
    """Writes a checkpoint where it belongs, whole and onto the disk.

    Lightning's own writes to the system's temporary folder first, which may be another disk, a small one, or outside
    the run folder's quota, and does not wait for the disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the file; `OSError` where that fails, with what was there untouched."""
        checkpoints.write(Path(path), checkpoint)
