"""Write metrics.csv, genotypes.jsonl and curvature.csv: a row per epoch, truncated to the checkpoint on a resume."""

from dataclasses import asdict
from typing import Any

import lightning as L

from nas_lightning.callbacks.phase_module import PhaseModule
from nas_lightning.runs.folder import RunFolder


class Tables(L.Callback):
    """Writes every metric that was logged for the epoch, including those of users.

    Args:
        folder: The run folder.
        phase: `search` or `evaluation`.

    Attributes:
        row: The epoch's row, on rank 0.
    """

    def __init__(self, folder: RunFolder, phase: str) -> None:
        self.folder = folder
        self.phase = phase
        self.row: dict[str, Any] = {}
        self._validated = False

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Remove rows of epochs that are about to run again, and write the genotype before training as epoch −1."""
        if not trainer.is_global_zero:
            return
        first = self._position(pl_module)["epoch"]
        untrained = first == 0 and pl_module.num_steps == 0
        self.folder.truncate(self.phase, -1 if untrained else first)
        if untrained and pl_module.searches:
            self._genotype(pl_module, {"epoch": -1, "search_epoch": -1, "attempt": 0})

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Forget the validation of the epoch before."""
        self._validated = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Note that metrics of a validation belong to this epoch."""
        self._validated = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write the epoch's row."""
        # Both on every rank, although rank 0 alone writes: the metrics are reduced when they are read.
        extra = pl_module.epoch_metrics()
        logged = trainer.callback_metrics
        if not trainer.is_global_zero:
            return
        position = self._position(pl_module)
        measured = pl_module.curvature
        # Lightning keeps values of earlier epochs, which would be repeated in an epoch without a measurement.
        metrics = {
            name: float(value)
            for name, value in logged.items()
            if (self._validated or not name.startswith(("val_", "test_")))
            and (measured is not None or name != "dominant_eigenvalue")
        }
        self.row = {"phase": self.phase, **position, **metrics, **extra}
        self.folder.append_metrics(self.row)
        if pl_module.searches:
            self._genotype(pl_module, position)
        if measured is not None:
            row = asdict(measured)
            row.pop("on_grid")
            self.folder.append_curvature({**position, **row})

    def _position(self, module: PhaseModule) -> dict[str, int]:
        return {"epoch": module.row_epoch, "search_epoch": module.search_epoch, "attempt": module.attempt}

    def _genotype(self, module: PhaseModule, position: dict[str, int]) -> None:
        genotype = module.genotype()
        mixing = {name: weights.tolist() for name, weights in module.mean().items()}
        self.folder.append_genotype({**position, "genotype": genotype and genotype.to_dict(), "mixing": mixing})
