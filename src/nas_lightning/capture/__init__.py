"""Passes of a module, captured once as CUDA graphs and replayed; whole on a CPU through a recording stand-in."""

from nas_lightning.capture.callable import Graphed
from nas_lightning.capture.graphs import CaptureError, stand_in
from nas_lightning.capture.policy import Policy, statements

__all__ = ["CaptureError", "Graphed", "Policy", "stand_in", "statements"]
