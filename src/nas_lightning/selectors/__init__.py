"""Selectors derive a genotype from a trained supernet. One idea a file."""

from nas_lightning.core.selector import Selector
from nas_lightning.selectors.likeliest import Likeliest
from nas_lightning.selectors.limited_skips import LimitedSkips
from nas_lightning.selectors.magnitude import Magnitude
from nas_lightning.selectors.perturbation import Perturbation
from nas_lightning.selectors.random_genotype import RandomGenotype
from nas_lightning.selectors.random_search import RandomSearch
from nas_lightning.selectors.threshold import Threshold

__all__ = [
    "Likeliest",
    "LimitedSkips",
    "Magnitude",
    "Perturbation",
    "RandomGenotype",
    "RandomSearch",
    "Selector",
    "Threshold",
]
