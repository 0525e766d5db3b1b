"""Callbacks that watch a run: tables, checkpoints, display, cost, random state, interruption, preemption."""

from nas_lightning.callbacks.checkpoint import DurableIO, EpochCheckpoint
from nas_lightning.callbacks.cost import Cost, hardware
from nas_lightning.callbacks.curvature import CurvatureTracking
from nas_lightning.callbacks.display import LiveDisplay, after_epochs
from nas_lightning.callbacks.interrupt import InterruptAtEpochEnd
from nas_lightning.callbacks.preemption import Preemption, TimeLimit, out_of_time, stopping_at_once
from nas_lightning.callbacks.random_state import RandomState
from nas_lightning.callbacks.run_logging import RunLogging
from nas_lightning.callbacks.tables import Tables

__all__ = [
    "Cost",
    "CurvatureTracking",
    "DurableIO",
    "EpochCheckpoint",
    "InterruptAtEpochEnd",
    "LiveDisplay",
    "Preemption",
    "RandomState",
    "RunLogging",
    "Tables",
    "TimeLimit",
    "after_epochs",
    "hardware",
    "out_of_time",
    "stopping_at_once",
]
