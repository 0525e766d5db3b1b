"""Parts that steer a search: Lightning callbacks that act at the end of an epoch. One idea a file."""

from nas_lightning.lightning.control.adaptive_rollback import AdaptiveRollback
from nas_lightning.lightning.control.curvature_stopping import CurvatureStopping

__all__ = ["AdaptiveRollback", "CurvatureStopping"]
