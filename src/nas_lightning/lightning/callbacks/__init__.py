"""Callbacks that watch a run: tables, checkpoints, display, cost, random state, interruption."""

from nas_lightning.lightning.callbacks.checkpoint import EpochCheckpoint
from nas_lightning.lightning.callbacks.cost import Cost, hardware
from nas_lightning.lightning.callbacks.curvature import CurvatureTracking
from nas_lightning.lightning.callbacks.display import LiveDisplay
from nas_lightning.lightning.callbacks.interrupt import InterruptAtEpochEnd
from nas_lightning.lightning.callbacks.random_state import RandomState
from nas_lightning.lightning.callbacks.run_logging import RunLogging
from nas_lightning.lightning.callbacks.tables import Tables

__all__ = [
    "Cost",
    "CurvatureTracking",
    "EpochCheckpoint",
    "InterruptAtEpochEnd",
    "LiveDisplay",
    "RandomState",
    "RunLogging",
    "Tables",
    "hardware",
]
