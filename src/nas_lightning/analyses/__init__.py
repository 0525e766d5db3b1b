"""What the architecture parameters of a supernet tell, and what not: pure parts of `task=analyse`."""

from nas_lightning.analyses.agreement import Agreement, agreement
from nas_lightning.analyses.discretization import discrete_mixing
from nas_lightning.analyses.mixture import optimal_mixture
from nas_lightning.analyses.networks import VGG, ResNet
from nas_lightning.analyses.patience import Patience
from nas_lightning.analyses.skip_gap import skip_gap
from nas_lightning.analyses.swaps import edges_swapped, equal_pairs, search_cells, swapped

__all__ = [
    "VGG",
    "Agreement",
    "Patience",
    "ResNet",
    "agreement",
    "discrete_mixing",
    "edges_swapped",
    "equal_pairs",
    "optimal_mixture",
    "search_cells",
    "skip_gap",
    "swapped",
]
