"""Selectors: how a genotype is derived from a trained supernet. One idea a file."""

from nas_lightning.selectors.magnitude import Magnitude

__all__ = ["Magnitude"]
