"""Controls of a search: callbacks that act on what the others measured, and run after them. One idea a file."""

from nas_lightning.control.adaptive_rollback import AdaptiveRollback
from nas_lightning.control.best_epoch import BestEpoch
from nas_lightning.control.curvature_stopping import CurvatureStopping
from nas_lightning.control.early_fixing import EarlyFixing
from nas_lightning.control.greedy_decisions import GreedyDecisions
from nas_lightning.control.operation_stopping import OperationStopping
from nas_lightning.control.progressive_shrinking import ProgressiveShrinking
from nas_lightning.control.skip_stopping import SkipStopping
from nas_lightning.core.control import Control

__all__ = [
    "AdaptiveRollback",
    "BestEpoch",
    "Control",
    "CurvatureStopping",
    "EarlyFixing",
    "GreedyDecisions",
    "OperationStopping",
    "ProgressiveShrinking",
    "SkipStopping",
]
