"""Analyses of finished searches: the pure computations, and the parts that read and write run folders."""

from nas_lightning.analyses.agreement import Agreement, agreement
from nas_lightning.analyses.base import Analysis
from nas_lightning.analyses.discretization import Discretization, discrete_mixing
from nas_lightning.analyses.mixture import optimal_mixture
from nas_lightning.analyses.networks import VGG, ResNet
from nas_lightning.analyses.patience import Patience
from nas_lightning.analyses.proxies import Proxies
from nas_lightning.analyses.shuffling import Shuffling
from nas_lightning.analyses.skip_gap import SkipGap, skip_gap
from nas_lightning.analyses.spectrum import Spectrum
from nas_lightning.analyses.strength import Strength
from nas_lightning.analyses.swaps import edges_swapped, equal_pairs, search_cells, swapped

__all__ = [
    "VGG",
    "Agreement",
    "Analysis",
    "Discretization",
    "Patience",
    "Proxies",
    "ResNet",
    "Shuffling",
    "SkipGap",
    "Spectrum",
    "Strength",
    "agreement",
    "discrete_mixing",
    "edges_swapped",
    "equal_pairs",
    "optimal_mixture",
    "search_cells",
    "skip_gap",
    "swapped",
]
