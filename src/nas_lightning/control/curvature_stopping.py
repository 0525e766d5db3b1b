"""Early stopping by the dominant eigenvalue (DARTS-ES: Zela et al., RobustDARTS, ICLR 2020, section 4)."""

from typing import Any

import lightning as L

from nas_lightning.control.eigenvalue_control import EigenvalueControl
from nas_lightning.searches.progress import Rollback


class CurvatureStopping(EigenvalueControl):
    """Stops the search when the smoothed dominant eigenvalue has grown too much, and restores an earlier epoch.

    Args:
        rule: `released` (factor 1.3, window 5, delta 4, start 10; returns trigger − 12 at interval 2) or `paper`
            (factor 1 / 0.75, window 5, delta 5; returns 5 epochs back, measured at every epoch).
        window: Measurements averaged; None takes the value of the rule, as for the arguments below.
        delta: Distance of the two averages that are compared, in averages.
        factor: Growth that triggers.
        start_epoch: Earliest search epoch to return to.
        offset: Search epochs from the window's centre back to the one that is restored.
    """

    key = "control.curvature_stopping"

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Request the end of the search if the latest measurement triggers."""
        epoch = self.feed(pl_module.curvature, pl_module.search_epoch)
        if epoch is not None:
            pl_module.curvature.event, pl_module.curvature.to_epoch = "stopped", epoch
            pl_module.rollback = Rollback(epoch, end=True)
