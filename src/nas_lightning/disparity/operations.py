"""Building blocks of networks that estimate disparities: convolutions, and the candidate operations of an edge.

Source: Saikia et al., AutoDispNet (ICCV 2019), and its released code: a convolution has a bias, a LeakyReLU follows,
and nothing is normalised; a strided skip connection is a full 3×3 convolution, the most expensive operation of the
space.
Deviations: strided convolutions pad both sides alike, where TensorFlow pads the far side only; the slope of the
LeakyReLU is that of the library of the release as we recall it; a depthwise kernel is initialised by its own number of
inputs.
Shapes: every operation maps [B, C, H, W] to [B, C, H / stride, W / stride].
"""

from collections.abc import Callable

from torch import nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.spaces.operations import AveragePool, Identity

SLOPE = 0.1
"""Of the LeakyReLU where its input is negative."""


def initialised(convolution: nn.Conv2d | nn.ConvTranspose2d, inputs: int, gain: float = 1.0) -> nn.Module:
    """Draw the kernel from a normal distribution of variance 2·gain² / inputs (He et al.), and set the bias to zero.

    Args:
        convolution: The convolution.
        inputs: Numbers that each of its outputs is a sum of.
        gain: Factor of the outputs.
    """
    nn.init.normal_(convolution.weight, std=gain * (2 / inputs) ** 0.5)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def conv_block(in_channels: int, out_channels: int, size: int, stride: int = 1, gain: float = 1.0) -> nn.Sequential:
    """Build a convolution of an odd size and a LeakyReLU: [B, Ci, H, W] to [B, Co, H / stride, W / stride]."""
    convolution = nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2)
    return nn.Sequential(initialised(convolution, in_channels * size * size, gain), nn.LeakyReLU(SLOPE))


def up_block(in_channels: int, out_channels: int, gain: float = 1.0) -> nn.Sequential:
    """Build a transposed 4×4 convolution and a LeakyReLU: [B, Ci, H, W] to [B, Co, 2·H, 2·W]."""
    convolution = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1)
    # A stride of 2 leaves 2 × 2 of the 4 × 4 weights for an output.
    return nn.Sequential(initialised(convolution, in_channels * 4, gain), nn.LeakyReLU(SLOPE))


def _separable_unit(channels: int, size: int, stride: int, dilation: int) -> list[nn.Module]:
    padding = dilation * (size - 1) // 2
    depthwise = nn.Conv2d(channels, channels, size, stride, padding, dilation, groups=channels, bias=False)
    return [
        initialised(depthwise, size * size),
        initialised(nn.Conv2d(channels, channels, 1), channels),
        nn.LeakyReLU(SLOPE),
    ]


def _separable(size: int) -> "Builder":
    return lambda channels, stride: nn.Sequential(
        *_separable_unit(channels, size, stride, 1), *_separable_unit(channels, size, 1, 1)
    )


def _dilated(size: int) -> "Builder":
    return lambda channels, stride: nn.Sequential(*_separable_unit(channels, size, stride, 2))


Builder = Callable[[int, int], nn.Module]

DISPARITY_OPERATIONS: dict[str, Builder] = {
    "sep_conv_3x3": _separable(3),
    "sep_conv_5x5": _separable(5),
    "dil_conv_3x3": _dilated(3),
    "dil_conv_5x5": _dilated(5),
    "max_pool_3x3": lambda channels, stride: nn.MaxPool2d(3, stride, padding=1),
    "avg_pool_3x3": lambda channels, stride: AveragePool(3, stride, padding=1, count_include_pad=False),
    "skip_connect": lambda channels, stride: Identity() if stride == 1 else conv_block(channels, channels, 3, stride),
}
"""Builders by name: (channels, stride) → module."""


def build_disparity_operation(
    name: str, channels: int, stride: int, search: bool = False, key: tuple[int | str, ...] = ()
) -> nn.Module:
    """Build a candidate operation; it is the same in the supernet and in a network, as nothing is normalised.

    Args:
        name: One of `DISPARITY_OPERATIONS`.
        channels: Channels C of input and output.
        stride: 1 or 2.
        search: Without effect.
        key: Without effect: none of them is random.

    Raises:
        ConfigError: The name is unknown.
    """
    if name not in DISPARITY_OPERATIONS:
        raise ConfigError(f"operation '{name}' is unknown; allowed: {', '.join(DISPARITY_OPERATIONS)}")
    return DISPARITY_OPERATIONS[name](channels, stride)
