"""Relaxations: architecture parameters → mixing weights. One idea a file."""

from nas_lightning.relaxations.softmax import Softmax
from nas_lightning.relaxations.uniform import Uniform

__all__ = ["Softmax", "Uniform"]
