"""Relaxations map architecture parameters to mixing weights. One idea a file."""

from nas_lightning.core.relaxation import Relaxation
from nas_lightning.relaxations.binary_gates import BinaryGates
from nas_lightning.relaxations.decoupled import Decoupled
from nas_lightning.relaxations.dirichlet import Dirichlet
from nas_lightning.relaxations.gumbel import Gumbel
from nas_lightning.relaxations.sigmoid import Sigmoid
from nas_lightning.relaxations.simplex import Simplex
from nas_lightning.relaxations.softmax import Softmax
from nas_lightning.relaxations.uniform import Uniform

__all__ = [
    "BinaryGates",
    "Decoupled",
    "Dirichlet",
    "Gumbel",
    "Relaxation",
    "Sigmoid",
    "Simplex",
    "Softmax",
    "Uniform",
]
