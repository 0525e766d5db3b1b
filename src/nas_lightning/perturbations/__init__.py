"""Perturbations change the mixing weights in the weight step. One idea a file."""

from nas_lightning.core.perturbation import Perturbation
from nas_lightning.perturbations.adversarial import Adversarial
from nas_lightning.perturbations.identity import Identity
from nas_lightning.perturbations.random import Random

__all__ = [
    "Adversarial",
    "Identity",
    "Perturbation",
    "Random",
]
