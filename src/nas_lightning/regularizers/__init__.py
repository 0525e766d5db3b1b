"""Regularizers act inside the supernet by hooks. One idea a file."""

from nas_lightning.core.regularizer import Regularizer
from nas_lightning.regularizers.auxiliary_skip import AuxiliarySkip
from nas_lightning.regularizers.beta_decay import BetaDecay
from nas_lightning.regularizers.cutout import Cutout
from nas_lightning.regularizers.drop_path import DropPath
from nas_lightning.regularizers.edge_normalisation import EdgeNormalisation
from nas_lightning.regularizers.expected_cost import ExpectedCost
from nas_lightning.regularizers.noise import Noise
from nas_lightning.regularizers.partial_channels import PartialChannels
from nas_lightning.regularizers.skip_drop_path import SkipDropPath
from nas_lightning.regularizers.skip_dropout import SkipDropout

__all__ = [
    "AuxiliarySkip",
    "BetaDecay",
    "Cutout",
    "DropPath",
    "EdgeNormalisation",
    "ExpectedCost",
    "Hooks",
    "Noise",
    "PartialChannels",
    "Regularizer",
    "SkipDropPath",
    "SkipDropout",
]

Hooks = Regularizer
"""Former name of the base class, for users' parts in old run folders."""
