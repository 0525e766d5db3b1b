"""Relaxations: architecture parameters → mixing weights. One idea a file."""

from nas_lightning.relaxations.softmax import Softmax

__all__ = ["Softmax"]
