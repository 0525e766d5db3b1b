"""Names of the options of a layer, and the operations that they stand for.

`e6k3` is the block of expansion 6 and kernel 3×3, `skip_connect` the identity, `none` zeros: the identity as well in a
layer with an outer shortcut.
"""

import re

from torch import nn

from nas_lightning.layered.blocks import Activation, InvertedResidual
from nas_lightning.layered.structure import LayerPlan
from nas_lightning.spaces.operations import Identity, Zero

LAYERS = "layers"
"""Name of the choice, and of its field in a genotype."""
SKIP, NONE = "skip_connect", "none"
_BLOCK = re.compile(r"e(\d+)k(\d+)")


def block_name(expansion: int, kernel: int) -> str:
    """Return the name of a block.

    >>> block_name(6, 3)
    'e6k3'
    """
    return f"e{expansion}k{kernel}"


def build_block(name: str, plan: LayerPlan, residual: bool, affine: bool) -> nn.Module:
    """Build a candidate operation of a supernet.

    Args:
        name: Its name.
        plan: Sizes of the layer.
        residual: Whether blocks add their input themselves.
        affine: Whether normalisations have a scale and a shift.
    """
    if name in (SKIP, NONE):
        return Identity() if name == SKIP else Zero(plan.stride)
    expansion, kernel = sizes_of(name)
    return InvertedResidual(plan, expansion, kernel, residual, affine=affine)


def build_layer(name: str, plan: LayerPlan, squeeze: bool, activation: Activation) -> nn.Module:
    """Build a layer of a network: a block with its shortcut, or the identity."""
    if name in (SKIP, NONE):
        return Identity()
    expansion, kernel = sizes_of(name)
    return InvertedResidual(plan, expansion, kernel, True, squeeze, activation)


def sizes_of(name: str) -> tuple[int, int]:
    """Return expansion and side of the kernel of a block.

    >>> sizes_of("e6k3")
    (6, 3)
    """
    found = _BLOCK.fullmatch(name)
    assert found is not None, name
    return int(found[1]), int(found[2])
