"""One exact state an epoch, written in one step."""

import re
import shutil
from pathlib import Path

from lightning.pytorch.callbacks import Checkpoint

import lightning as L


class EpochCheckpoint(Checkpoint):
    """Saves `last.ckpt` after every epoch, and earlier epochs as far as they are wanted.

    Lightning's ModelCheckpoint counts optimizer steps, of which a search takes two a batch, and ignores time
    intervals under manual optimisation; a plain save at the end of each epoch has neither problem. Lightning runs
    checkpoint callbacks last, so the file holds what every other callback left.

    Args:
        folder: Where to save. `epoch=K.ckpt` is the state after K search epochs.
        snapshots: Keep `epoch=K.ckpt` after every so many search epochs; None keeps none.
        reach: Keep the last so many search epochs besides, for a control that may go back to them.
    """

    def __init__(self, folder: Path, snapshots: int | None = None, reach: int = 0) -> None:
        self.folder = folder
        self.snapshots = snapshots
        self.reach = reach

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, and remove what can no longer be reached."""
        temporary = self.folder / "last.ckpt.tmp"
        trainer.save_checkpoint(temporary, weights_only=False)  # all of the state; every rank takes part
        if not trainer.is_global_zero:
            return
        epoch = getattr(pl_module, "search_epoch", 0)
        if self.reach or self._is_snapshot(epoch):
            # Before last.ckpt: a run that is killed in between repeats the epoch and writes this file again.
            copy = self.folder / f"epoch={epoch}.ckpt.tmp"
            shutil.copyfile(temporary, copy)
            copy.replace(copy.with_suffix(""))
        temporary.replace(self.folder / "last.ckpt")
        if self.reach:
            self._prune(epoch)

    def _is_snapshot(self, epoch: int) -> bool:
        return self.snapshots is not None and epoch % self.snapshots == 0

    def _prune(self, epoch: int) -> None:
        """Drop what is too old, and, after a rollback, the epochs of the attempt that was given up."""
        for path in self.folder.glob("epoch=*.ckpt"):
            found = re.fullmatch(r"epoch=(\d+)", path.stem)
            kept = int(found.group(1)) if found else epoch
            if kept > epoch or (kept < epoch - self.reach and not self._is_snapshot(kept)):
                path.unlink()
