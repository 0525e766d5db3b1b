"""Curvature of a loss in the architecture parameters: Hessian, eigenvalues, spectrum, landscape, early stopping."""

from nas_lightning.curvature import landscape
from nas_lightning.curvature.eigenvalues import (
    Measurement,
    density,
    dominant_eigenvalue,
    hessian,
    measure,
    spectrum,
    top_eigenvalues,
)
from nas_lightning.curvature.stopping import EigenvalueStopping

__all__ = [
    "EigenvalueStopping",
    "Measurement",
    "density",
    "dominant_eigenvalue",
    "hessian",
    "landscape",
    "measure",
    "spectrum",
    "top_eigenvalues",
]
