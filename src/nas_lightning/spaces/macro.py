"""Macro-architecture of supernets and networks of cell spaces: where cells reduce, stems, preprocessing.

Shapes: images are [B, in_channels, H, W]; cell k sees `[B, C_k, H_k, W_k]`, with C doubled and H, W halved by each
reduction cell.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.spaces.operations import FactorizedReduce, relu_conv_norm

STEM_STRIDES = {"cifar": (1, 1), "imagenet": (4, 8)}
"""Downsampling of the two cell inputs by each stem."""


def reduction_cells(layers: int) -> frozenset[int]:
    """Return the indices of the reduction cells: a third and two thirds of the way (2 and 5 of 8; 6 and 13 of 20)."""
    return frozenset({layers // 3, 2 * layers // 3})


@dataclass(frozen=True)
class CellPlan:
    """Sizes of one cell in the stack.

    Args:
        index: Position in the stack.
        kind: `normal` or `reduce`.
        channels: Channels C of every node.
        channels_in: Channels of the outputs of cells k-2 and k-1.
        previous_reduced: Whether cell k-1 halved the resolution, so that k-2's output must be halved too.
    """

    index: int
    kind: str
    channels: int
    channels_in: tuple[int, int]
    previous_reduced: bool


def plan_cells(layers: int, init_channels: int, multiplier: dict[str, int], stem: str) -> Iterator[CellPlan]:
    """Plan the stack of cells, first to last.

    Args:
        layers: Number of cells.
        init_channels: Channels C of the first cells.
        multiplier: For each cell type, how many nodes are concatenated into its output.
        stem: `cifar` (3·C channels at full resolution) or `imagenet` (C channels at 1/4 and 1/8).
    """
    channels = init_channels
    before = last = 3 * init_channels if stem == "cifar" else init_channels
    previous_reduced = stem == "imagenet"
    reductions = reduction_cells(layers)
    for index in range(layers):
        reduces = index in reductions
        if reduces:
            channels *= 2
        kind = "reduce" if reduces else "normal"
        yield CellPlan(index, kind, channels, (before, last), previous_reduced)
        before, last = last, multiplier[kind] * channels
        previous_reduced = reduces


def check_image_size(size: int, layers: int, stem: str) -> None:
    """Refuse image sizes that the strides cannot halve evenly.

    Raises:
        ConfigError: The side is not a multiple of the network's total stride.
    """
    stride = STEM_STRIDES[stem][1] * 2 ** len(reduction_cells(layers))
    if size < stride or size % stride:
        nearest = max(stride, round(size / stride) * stride)
        raise ConfigError(
            f"data.image_size={size}: {layers} cells with the {stem} stem halve the image down to 1/{stride}, so the"
            f" side must be a multiple of {stride}; use data.image_size={nearest} or change data.path's images"
        )


class Preprocess(nn.Module):
    """Bring the two inputs of a cell to its channels and resolution."""

    def __init__(self, plan: CellPlan, affine: bool) -> None:
        super().__init__()
        before, last = plan.channels_in
        make = FactorizedReduce if plan.previous_reduced else relu_conv_norm
        self.before = make(before, plan.channels, affine)
        self.last = relu_conv_norm(last, plan.channels, affine)

    def forward(self, before: Tensor, last: Tensor) -> list[Tensor]:
        """Map the outputs of cells k-2 and k-1 to nodes 0 and 1, each [B, C, H, W]."""
        return [self.before(before), self.last(last)]


class CifarStem(nn.Module):
    """3×3 convolution to 3·C channels; both cell inputs are its output."""

    def __init__(self, in_channels: int, init_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 3 * init_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3 * init_channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map [B, in_channels, H, W] to twice [B, 3·C, H, W]."""
        y = self.norm(self.conv(images))
        return y, y


class ImageNetStem(nn.Module):
    """Three convolutions of stride 2: cell inputs at 1/4 and at 1/8 of the resolution."""

    def __init__(self, in_channels: int, init_channels: int) -> None:
        super().__init__()
        C = init_channels
        self.quarter = nn.Sequential(
            nn.Conv2d(in_channels, C // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(C // 2),
            nn.ReLU(),
            nn.Conv2d(C // 2, C, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(C),
        )
        self.eighth = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(C, C, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(C),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map [B, in_channels, H, W] to [B, C, H/4, W/4] and [B, C, H/8, W/8]."""
        y = self.quarter(images)
        return y, self.eighth(y)


def build_stem(stem: str, in_channels: int, init_channels: int) -> nn.Module:
    """Build the stem of a name.

    Raises:
        ConfigError: The name is unknown, or the channel count is odd (reductions split it in two).
    """
    if init_channels < 2 or init_channels % 2:
        raise ConfigError(
            f"init_channels={init_channels}: must be even and positive (reductions split the channels in two);"
            f" use {max(2, init_channels + 1)}"
        )
    if stem not in STEM_STRIDES:
        raise ConfigError(f"stem={stem}: unknown; allowed: {', '.join(STEM_STRIDES)}")
    return (CifarStem if stem == "cifar" else ImageNetStem)(in_channels, init_channels)
