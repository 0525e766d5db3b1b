"""Save the exact state of a run after every epoch, and between two batches on request."""

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from nas_lightning.core.errors import LoadingError, NonFiniteError
from nas_lightning.runs import checkpoints, layout
from nas_lightning.runs.folder import RunFolder


class EpochCheckpoint(Checkpoint):
    """Saves `last.ckpt` after every epoch, and keeps earlier epochs on request.

    The state before it stays as `previous.ckpt`, in case the newest is damaged. Lightning's ModelCheckpoint counts
    optimizer steps, of which a search takes two a batch, and ignores time intervals under manual optimisation; a plain
    save has neither problem. Lightning runs checkpoint callbacks last, so the file holds what every other callback
    left.

    Args:
        folder: Folder of the checkpoints. `epoch=K.ckpt` is the state after K search epochs.
        snapshots: Interval in search epochs at which `epoch=K.ckpt` is kept; None keeps none.
        reach: Number of latest search epochs to keep as well, for a control that may roll back to them.
        minutes: Minutes since the last save after which to save between two batches; None saves after epochs only.
    """

    def __init__(
        self, folder: Path, snapshots: int | None = None, reach: int = 0, minutes: float | None = None
    ) -> None:
        self.folder = folder
        self.snapshots = snapshots
        self.reach = reach
        self.minutes = minutes
        self.has_saved = False
        """True once the current fit has saved a state."""
        self._unsaved = self._half_loaded = False
        self._saved_at = 0.0
        self._run: dict[str, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._saved_at = time.monotonic()
        self.has_saved = self._unsaved = self._half_loaded = False

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save if the last save is older than `minutes`."""
        self._unsaved = True
        if self.minutes is None:
            return
        # Clocks differ: ranks agree on it, because saving is collective.
        due = time.monotonic() - self._saved_at >= 60 * self.minutes
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            self.save_in_epoch(trainer, batch_idx)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Save, and remove checkpoints that are no longer needed."""
        epoch = pl_module.search_epoch  # a search has advanced it, or rolled it back, just before
        wanted = self.reach or self._is_snapshot(epoch)
        self._save(trainer, copy=layout.epoch_name(epoch) if wanted else None)
        if self.reach and trainer.is_global_zero:
            self._prune(epoch)

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Save what can be saved.

        The state before a non-finite step is kept for inspection, a resume still continues from `last.ckpt`. Where
        processes that load images fail, the state is that after the last batch, and a resume continues with the next.
        """
        if isinstance(exception, NonFiniteError):
            trainer.save_checkpoint(self.folder / layout.NONFINITE, weights_only=False)
        elif isinstance(exception, LoadingError) and self._unsaved and trainer.training:
            self._half_loaded = True
            self.save_in_epoch(trainer, trainer.fit_loop.epoch_loop.batch_idx)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add the format version and the fingerprint of the run that the checkpoint belongs to."""
        if not self._run:
            self._run = {"format": checkpoints.FORMAT, "run": RunFolder(trainer.default_root_dir).fingerprint()}
        checkpoint["nas_lightning"] = self._run
        if not self._half_loaded:
            return
        # Of two streams one may have yielded a batch when the other failed; it was not trained on.
        loaders = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", ())
        given = min((state["given"] for state in loaders if "given" in state), default=0)
        for state in loaders:
            if "given" in state:
                state["given"] = given

    def save_in_epoch(self, trainer: L.Trainer, batch_idx: int) -> bool:
        """Save after a batch; a resume continues with the next one.

        Several processes save nothing: of the metrics that each accumulates, the state would hold those of rank 0
        alone. They continue from the end of the epoch before.

        Args:
            trainer: The Trainer of the fit.
            batch_idx: Index of the batch in the epoch.

        Returns:
            False if the epoch or a validation ends after this batch, or a validation came earlier in the epoch: no
            state holds its results, so the run has to reach the end of the epoch. True otherwise.
        """
        validates = trainer.val_check_batch or 0
        if trainer.check_val_every_n_epoch is None or batch_idx + 1 >= min(trainer.num_training_batches, validates):
            return False
        if trainer.world_size == 1:
            self._save(trainer)
        return True

    def _save(self, trainer: L.Trainer, copy: str | None = None) -> None:
        # With `weights_only` false the state of optimizers and loops is saved, too; every rank takes part.
        trainer.save_checkpoint(self.folder / layout.NEXT, weights_only=False)
        self._saved_at = time.monotonic()
        self.has_saved, self._unsaved = True, False
        if trainer.is_global_zero:
            # Written under another name first: until it is complete, `last.ckpt` stays the one before.
            checkpoints.promote(self.folder, copy)

    def _is_snapshot(self, epoch: int) -> bool:
        return self.snapshots is not None and epoch % self.snapshots == 0

    def _prune(self, epoch: int) -> None:
        """Remove epochs beyond the reach and, after a rollback, those of the abandoned attempt.

        One more epoch than the reach is kept: a resume from `previous.ckpt` may need it.
        """
        for kept, path in layout.epoch_checkpoints(self.folder):
            if kept > epoch or (kept < epoch - self.reach - 1 and not self._is_snapshot(kept)):
                path.unlink()


class DurableIO(TorchCheckpointIO):
    """Checkpoint writer that is atomic and waits for the disk.

    Lightning's writes to the system's temporary folder first, which may be on another or a small disk, or outside the
    run folder's quota, and it does not wait for the disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the file; on an `OSError` an existing file stays untouched."""
        checkpoints.write(Path(path), checkpoint)
