"""Perturbations of the mixing weights in the weight step. One idea a file."""

from nas_lightning.perturbations.identity import Identity

__all__ = ["Identity"]
