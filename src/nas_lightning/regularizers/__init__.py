"""Regularizers reach inside the supernet by hooks. One idea a file."""

from nas_lightning.regularizers.hooks import Hooks

__all__ = ["Hooks"]
