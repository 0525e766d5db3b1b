"""Send each epoch to the loggers: its row of the tables, the decision of a control, drawings."""

from io import BytesIO
from typing import Any

import lightning as L
from matplotlib.figure import Figure
from PIL import Image

from nas_lightning.callbacks.tables import Tables
from nas_lightning.loggers import RunLoggers
from nas_lightning.reports import draw_genotype, draw_mixing


class RunLogging(L.Callback):
    """Sends each epoch's numbers once, under the names of metrics.csv after the phase: `search/val_accuracy`.

    Args:
        loggers: The loggers of the run.
        tables: Callback that wrote the epoch's row.

    Attributes:
        before: Epochs of the phases before, which the steps of the loggers start at.
    """

    def __init__(self, loggers: RunLoggers, tables: Tables) -> None:
        self.loggers = loggers
        self.tables = tables
        self.before = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Continue the steps of the phases before; rows of a selection already continue those of the search."""
        if self.tables.phase == "evaluation" and trainer.is_global_zero:
            rows = (row for row in self.tables.folder.read_metrics() if row["phase"] != "evaluation")
            generations = len(self.tables.folder.read_generations())  # of a pool: a step of the loggers each
            self.before = max((int(row["epoch"]) + 1 for row in rows), default=generations)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log the row of the epoch, which `tables` has written just before."""
        if not trainer.is_global_zero or not self.loggers.all:
            return
        phase, row = self.tables.phase, {**self.tables.row}
        row.pop("phase")
        measured = pl_module.curvature
        if measured is not None:
            row["smoothed_eigenvalue"] = measured.smoothed
            if measured.event:
                row[f"{measured.event.replace(' ', '_')}_to"] = measured.to_epoch
        step = self.before + row["epoch"]
        self.loggers.log_row({f"{phase}/{key}": value for key, value in row.items() if value is not None}, step)
        if not pl_module.searches:
            return
        last = row["search_epoch"] == pl_module.progress.last_epoch - 1
        # Drawings cost more than numbers: each logger has an interval for them, and the last epoch is always drawn.
        takers = [one for one in self.loggers if (k := one.drawing_interval) and (last or step % k == 0)]
        if takers:
            for name, figure in _drawings(pl_module).items():
                image = _pixels(figure)
                for logger in takers:
                    logger.call("log_drawing", f"{phase}/{name}", image, step)


def _drawings(module: Any) -> dict[str, Figure]:
    """Draw the cells of the current genotype, and the mixing weights of every edge."""
    genotype = module.genotype()
    cells = {} if genotype is None else draw_genotype(genotype)
    drawings = {f"cell_{name}": figure for name, figure in cells.items()}
    for name, weights in module.mean().items():
        drawings[f"mixing_{name}"] = draw_mixing(weights.detach().cpu(), module.space.choices[name])
    return drawings


def _pixels(figure: Figure) -> Image.Image:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return Image.open(buffer).convert("RGB")
