"""What the architecture parameters of a supernet tell, and what not: pure parts of the analyses in Wang's thesis."""

from nas_lightning.analyses.agreement import Agreement, agreement
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
    "edges_swapped",
    "equal_pairs",
    "optimal_mixture",
    "search_cells",
    "skip_gap",
    "swapped",
]
