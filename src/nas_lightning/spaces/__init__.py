"""Search spaces: operations, cells, supernets, discrete networks, choices, genotypes."""

from nas_lightning.core.choices import Active, Choice, Mixing
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import SearchSpace
from nas_lightning.spaces.cell_space import CellSpace
from nas_lightning.spaces.nasbench1shot1 import NasBench1Shot1Space
from nas_lightning.spaces.nasbench201 import NasBench201Space
from nas_lightning.spaces.published import PUBLISHED, genotype

__all__ = [
    "PUBLISHED",
    "Active",
    "CellSpace",
    "Choice",
    "Genotype",
    "Mixing",
    "NasBench1Shot1Space",
    "NasBench201Space",
    "SearchSpace",
    "genotype",
]
