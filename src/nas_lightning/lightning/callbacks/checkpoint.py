"""One exact state an epoch, written in one step."""

from pathlib import Path

from lightning.pytorch.callbacks import Checkpoint

import lightning as L


class EpochCheckpoint(Checkpoint):
    """Saves `last.ckpt` after every epoch, and snapshots that are kept.

    Lightning's ModelCheckpoint counts optimizer steps, of which a search takes two a batch, and ignores time
    intervals under manual optimisation; a plain save at the end of each epoch has neither problem. Lightning runs
    checkpoint callbacks last, so the file holds what every other callback left.

    Args:
        folder: Where to save.
        snapshots: Keep `epoch=K.ckpt` after every so many search epochs; None keeps none.
    """

    def __init__(self, folder: Path, snapshots: int | None = None) -> None:
        self.folder = folder
        self.snapshots = snapshots

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save."""
        paths = [self.folder / "last.ckpt"]
        epoch = getattr(pl_module, "search_epoch", 0)
        if self.snapshots is not None and epoch % self.snapshots == 0:
            paths.append(self.folder / f"epoch={epoch}.ckpt")
        for path in paths:
            self._save(trainer, path)

    def _save(self, trainer: L.Trainer, path: Path) -> None:
        temporary = path.with_name(path.name + ".tmp")
        trainer.save_checkpoint(temporary, weights_only=False)  # all of the state; every rank takes part
        if trainer.is_global_zero:
            temporary.replace(path)
