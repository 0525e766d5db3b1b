"""Early stopping by the dominant eigenvalue (DARTS-ES: Zela et al., RobustDARTS, ICLR 2020, section 4)."""

from typing import Any

import lightning as L
from nas_lightning.lightning.control.watching import (
    EigenvalueControl,
    EigenvalueWatch,
    Epochs,
    Evaluations,
    Factor,
    Rule,
    tracking_of,
)
from nas_lightning.lightning.state import Rollback


class CurvatureStopping(EigenvalueControl):
    """Ends the search when the smoothed dominant eigenvalue has grown too much, at the supernet of an earlier epoch.

    Args:
        rule: `released` (factor 1.3, window 5, delta 4, start 10; returns trigger − 12 at interval 2) or `paper`
            (factor 1 / 0.75, window 5, delta 5; returns 5 epochs back, measured at every epoch).
        window: Measurements averaged; None takes the rule's own value, as for the others.
        delta: Averages between the two that are compared.
        factor: Growth that triggers.
        start_epoch: First search epoch that may be returned.
        offset: Search epochs from the window's centre back to the one that is returned.
    """

    def __init__(
        self,
        rule: Rule = "released",
        window: Evaluations | None = None,
        delta: Evaluations | None = None,
        factor: Factor | None = None,
        start_epoch: Epochs | None = None,
        offset: Epochs | None = None,
    ) -> None:
        self.watch = EigenvalueWatch(rule, window, delta, factor, start_epoch, offset)

    def check(self, module: Any, callbacks: list[Any]) -> None:
        """Refuse a search without curvature.

        Raises:
            ConfigError: Nothing measures it.
        """
        self.watch.check("control.curvature_stopping", callbacks, module.settings.epochs)

    def reach(self, module: Any, callbacks: list[Any]) -> int:
        """Search epochs that must be kept."""
        return self.watch.lag(tracking_of(callbacks, "control.curvature_stopping").interval) + 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Decide on the latest measurement."""
        epoch = self.watch.feed(pl_module.curvature, pl_module.search_epoch)
        if epoch is not None:
            pl_module.curvature.event, pl_module.curvature.to_epoch = "stopped", epoch
            pl_module.rollback = Rollback(epoch, end=True)
