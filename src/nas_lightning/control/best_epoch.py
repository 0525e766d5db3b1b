"""Return to the epoch with the best metric on `val` (as released with GAEA, Li et al., ICLR 2021)."""

import math
from collections.abc import Sequence
from typing import Any

import lightning as L

from nas_lightning.core.control import Control
from nas_lightning.core.errors import ConfigError
from nas_lightning.searches.progress import Rollback


class BestEpoch(Control, L.Callback):
    """After the last epoch, go back to the one whose supernet was best on `val`, and end there; of equals the first.

    The metric is that of the objective, at the mean mixing weights. States of all epochs are kept until the end.
    Source: the search loop of GAEA's released code, for searches on two levels.
    Left out: that loop measures the last epoch twice, on images that are augmented anew.
    """

    key = "control.best_epoch"
    goes_back = True

    def __init__(self) -> None:
        self.best: tuple[int, float] | None = None

    def check(self, module: Any, callbacks: Sequence[Any]) -> None:
        """Refuse a search of one epoch, whose best is its last.

        Raises:
            ConfigError: There is one epoch.
        """
        if module.settings.epochs == 1:
            raise ConfigError(f"{self.key}: search.epochs=1 leaves no choice; remove it, ~{self.key}")

    def reach(self, module: Any, callbacks: Sequence[Any]) -> int:
        """Keep every epoch."""
        return int(module.settings.epochs)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Compare with the best so far; after the last epoch go back to it."""
        epoch, goal = pl_module.search_epoch, pl_module.goal
        found = trainer.callback_metrics.get(goal.key("val"))
        if found is None:
            raise ConfigError(
                f"{self.key}: the search measures no {goal.name} on val; use trainer.limit_val_batches=1.0 or"
                f" ~{self.key}"
            )
        value = float(found)
        if self.best is None or math.isnan(self.best[1]) or goal.sign * value > goal.sign * self.best[1]:
            self.best = (epoch, value)
        if epoch + 1 == pl_module.settings.epochs and self.best[0] != epoch:
            pl_module.rollback = Rollback(self.best[0], end=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch so far and its value."""
        return {"best": None if self.best is None else list(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        best = state_dict["best"]
        self.best = None if best is None else (int(best[0]), float(best[1]))
