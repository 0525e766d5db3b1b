"""The sizes of a network of layers, from those of its stages and the multipliers of width and depth.

Source: Sandler et al., MobileNetV2 (CVPR 2018), and its released code, for widths that are multiples of 8; Tan & Le,
EfficientNet (ICML 2019), for depths that are rounded up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from nas_lightning.core.errors import ConfigError

DIVISOR = 8
"""Scaled widths are multiples of it."""


@dataclass(frozen=True)
class LayerPlan:
    """Sizes of a layer.

    Args:
        index: Its place among the layers that are searched.
        inputs: Channels Ci that it reads.
        outputs: Channels Co that it writes.
        stride: 1 or 2.
    """

    index: int
    inputs: int
    outputs: int
    stride: int

    @property
    def keeps_shape(self) -> bool:
        """Whether the input can be added to the output."""
        return self.stride == 1 and self.inputs == self.outputs


@dataclass(frozen=True)
class Structure:
    """Sizes of a network.

    Args:
        stem: Channels of the first convolution.
        stem_stride: Its stride.
        first: Channels behind the first block, which is fixed.
        layers: The layers that are searched.
        tail: Channels of the last convolution.
    """

    stem: int
    stem_stride: int
    first: int
    layers: tuple[LayerPlan, ...]
    tail: int

    @property
    def total_stride(self) -> int:
        """Pixels of an image's side for one of the last feature map."""
        stride = self.stem_stride
        for plan in self.layers:
            stride *= plan.stride
        return stride


def scaled(width: int, multiplier: float) -> int:
    """Return a width times a multiplier: the nearest multiple of 8, not more than a tenth below the product.

    >>> scaled(32, 1.0), scaled(32, 1.4), scaled(24, 0.75), scaled(20, 1.0)
    (32, 48, 24, 20)
    """
    if multiplier == 1.0:
        return width
    exact = width * multiplier
    rounded = max(DIVISOR, int(exact + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded if rounded >= 0.9 * exact else rounded + DIVISOR


def build_structure(
    stem: tuple[int, int],
    first: int,
    stages: tuple[Sequence[int], Sequence[int], Sequence[int]],
    tail: int,
    width: float,
    depth: float,
) -> Structure:
    """Build the sizes of all layers.

    Args:
        stem: Channels and stride of the first convolution.
        first: Channels of the first block.
        stages: Widths of the stages, their numbers of layers and the strides of their first layers.
        tail: Channels of the last convolution; a `width` below 1 leaves them, as in MobileNetV2.
        width: Multiplier of channels.
        depth: Multiplier of the numbers of layers.

    Raises:
        ConfigError: The stages have different numbers of values.
    """
    widths, depths, strides = stages
    if not len(widths) == len(depths) == len(strides) > 0:
        raise ConfigError(
            f"space.widths={list(widths)}: {len(widths)} stages, and {len(depths)} of space.depths and"
            f" {len(strides)} of space.strides; give each a value a stage, e.g. space.depths={[1] * len(widths)}"
            f" space.strides={[1] * len(widths)}"
        )
    plans: list[LayerPlan] = []
    inputs = scaled(first, width)
    before = inputs
    for outputs, layers, stride in zip(widths, depths, strides, strict=True):
        for number in range(ceil(layers * depth)):
            plans.append(LayerPlan(len(plans), inputs, scaled(outputs, width), stride if number == 0 else 1))
            inputs = plans[-1].outputs
    return Structure(scaled(stem[0], width), stem[1], before, tuple(plans), scaled(tail, max(width, 1.0)))
