"""The candidate operations of the DARTS family and of NAS-Bench-201, for the supernet and for the discrete network.

Shapes: every operation maps [B, C, H, W] to [B, C, H / stride, W / stride]. In the supernet batch normalisation has no
affine parameters and follows the pools too; in the discrete network it is affine and no normalisation follows pools.
Source: Liu et al., DARTS (ICLR 2019), and its released code; the noise operation is RobustDARTS' (space S4), the plain
convolutions `nor_conv` are those of NAS-Bench-201 (Dong & Yang, ICLR 2020).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError


class Identity(nn.Identity):
    """Skip connection at stride 1. A class of its own, because drop-path spares it."""


class Zero(nn.Module):
    """No connection: zeros of the strided shape."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to zeros [B, C, H / stride, W / stride]."""
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class Noise(nn.Module):
    """Fresh standard normal noise of the strided shape, whatever the input; random in evaluation too.

    Args:
        stride: Spatial stride.
        key: Name of its draw among the others of a pass (cell, edge).
    """

    def __init__(self, stride: int, key: tuple[int | str, ...]) -> None:
        super().__init__()
        self.stride = stride
        self.key = key

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to noise [B, C, H / stride, W / stride] without a gradient."""
        return draws.normal_like(x[:, :, :: self.stride, :: self.stride].detach(), "noise", *self.key)


class Pointwise(nn.Conv2d):
    """A 1×1 convolution that leaves out pixels before it convolves.

    On the CPU the backward pass of torch's own strided 1×1 convolution writes out of bounds in channels_last.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, Ci, H, W] to [B, Co, H / stride, W / stride]."""
        return conv2d(x[:, :, :: self.stride[0], :: self.stride[1]], self.weight)


class FactorizedReduce(nn.Module):
    """Halve the resolution without losing every second pixel: two 1×1 convolutions, one shifted by a pixel."""

    def __init__(self, in_channels: int, out_channels: int, affine: bool) -> None:
        super().__init__()
        first = out_channels // 2
        self.conv_1 = nn.Conv2d(in_channels, first, 1, bias=False)
        self.conv_2 = nn.Conv2d(in_channels, out_channels - first, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, Ci, H, W] with even H and W to [B, Co, H / 2, W / 2]."""
        x = torch.relu(x)
        return self.norm(self.convolve(x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]))

    def convolve(self, even: Tensor, odd: Tensor) -> Tensor:
        """Concatenate both convolutions, of even and of odd rows and columns.

        Args:
            even: The even rows and columns, [B, Ci, H/2, W/2]; taken before the convolution, see `Pointwise`.
            odd: The odd ones, of the same shape.

        Returns:
            [B, Co, H/2, W/2].
        """
        return torch.cat([self.conv_1(even), self.conv_2(odd)], dim=1)


def relu_conv_norm(in_channels: int, out_channels: int, affine: bool, size: int = 1, stride: int = 1) -> nn.Sequential:
    """Build a ReLU, a convolution of an odd size that keeps the resolution at stride 1, and a batch normalisation."""
    return nn.Sequential(
        nn.ReLU(),
        (Pointwise if size == 1 else nn.Conv2d)(in_channels, out_channels, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(out_channels, affine=affine),
    )


def _separable_unit(channels: int, size: int, stride: int, dilation: int, affine: bool) -> list[nn.Module]:
    padding = dilation * (size - 1) // 2
    depthwise = nn.Conv2d(channels, channels, size, stride, padding, dilation, groups=channels, bias=False)
    return [
        nn.ReLU(),
        depthwise,
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


def _separable(size: int) -> "Builder":
    def build(channels: int, stride: int, search: bool, key: tuple[int | str, ...]) -> nn.Module:
        first = _separable_unit(channels, size, stride, 1, affine=not search)
        return nn.Sequential(*first, *_separable_unit(channels, size, 1, 1, affine=not search))

    return build


def _dilated(size: int) -> "Builder":
    def build(channels: int, stride: int, search: bool, key: tuple[int | str, ...]) -> nn.Module:
        return nn.Sequential(*_separable_unit(channels, size, stride, 2, affine=not search))

    return build


def _convolution(size: int) -> "Builder":
    def build(channels: int, stride: int, search: bool, key: tuple[int | str, ...]) -> nn.Module:
        return relu_conv_norm(channels, channels, not search, size, stride)

    return build


class AveragePool(nn.AvgPool2d):
    """`nn.AvgPool2d`, on a GPU in the contiguous layout only.

    With padding, its gradient in channels_last is wrong there (seen with torch 2.11; pytorch's issue 188344).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H', W']."""
        return super().forward(x.contiguous() if x.is_cuda else x)


def _pool(make: Callable[[int], nn.Module]) -> "Builder":
    def build(channels: int, stride: int, search: bool, key: tuple[int | str, ...]) -> nn.Module:
        pool = make(stride)
        return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False)) if search else pool

    return build


def _skip(channels: int, stride: int, search: bool, key: tuple[int | str, ...]) -> nn.Module:
    return Identity() if stride == 1 else FactorizedReduce(channels, channels, affine=not search)


Builder = Callable[[int, int, bool, tuple[int | str, ...]], nn.Module]

OPERATIONS: dict[str, Builder] = {
    "none": lambda channels, stride, search, key: Zero(stride),
    "max_pool_3x3": _pool(lambda stride: nn.MaxPool2d(3, stride, padding=1)),
    "avg_pool_3x3": _pool(lambda stride: AveragePool(3, stride, padding=1, count_include_pad=False)),
    "skip_connect": _skip,
    "sep_conv_3x3": _separable(3),
    "sep_conv_5x5": _separable(5),
    "dil_conv_3x3": _dilated(3),
    "dil_conv_5x5": _dilated(5),
    "nor_conv_1x1": _convolution(1),
    "nor_conv_3x3": _convolution(3),
    "noise": lambda channels, stride, search, key: Noise(stride, key),
}
"""Builders by the field's names: (channels, stride, search, key) → module."""


def build_operation(name: str, channels: int, stride: int, search: bool, key: tuple[int | str, ...] = ()) -> nn.Module:
    """Build a candidate operation.

    Args:
        name: One of `OPERATIONS`.
        channels: Channels C of input and output.
        stride: 1 or 2.
        search: True in the supernet (no affine parameters, pools normalised), False in the discrete network.
        key: The place of the operation; it names the draws of stochastic operations.

    Raises:
        ConfigError: The name is unknown.
    """
    if name not in OPERATIONS:
        raise ConfigError(f"operation '{name}' is unknown; allowed: {', '.join(OPERATIONS)}")
    return OPERATIONS[name](channels, stride, search, key)


def drop_path(x: Tensor, probability: float | Callable[[], float], *key: int | str) -> Tensor:
    """Zero the paths of randomly chosen images and scale the others up, out of place.

    Args:
        x: [B, C, H, W].
        probability: Chance that an image's path is dropped, in [0, 1). A function is asked again at each replay of a
            captured pass, so a probability with a schedule must be one.
        key: Name of the draw.
    """
    now = probability if callable(probability) else lambda: probability
    if now() == 0.0:
        return x
    like = draws.sample_like(x)

    def scale() -> Tensor:
        keep = 1.0 - now()
        return draws.keep_mask(like, keep, *key) / keep

    return x * draws.outside(scale)
