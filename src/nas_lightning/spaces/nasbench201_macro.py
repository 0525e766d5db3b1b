"""Macro-architecture of NAS-Bench-201: three stages of equal cells with residual blocks between them.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020), section 2.1, and its released code. Cells keep channels and resolution;
each of the two residual blocks doubles the channels and halves the resolution. With 16 channels and 5 cells a stage the
discrete networks have the published numbers of parameters.
Shapes: B images, C channels; images are [B, in_channels, H, W].
"""

from collections.abc import Callable

from torch import Tensor, nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.spaces.operations import build_operation, relu_conv_norm

STAGES = 3
INIT_CHANNELS, LAYERS = 16, 5
"""The published sizes: channels of the first stage, and cells a stage."""


def build_cell_operation(
    name: str, channels: int, stride: int, search: bool, key: tuple[int | str, ...] = ()
) -> nn.Module:
    """Build an operation of this space: unlike in the DARTS space, no normalisation follows pools in the supernet."""
    return build_operation(name, channels, stride, search and "pool" not in name, key)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, the first of stride 2, beside a shortcut: 2×2 average pool and a bare 1×1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            relu_conv_norm(in_channels, out_channels, affine=True, size=3, stride=2),
            relu_conv_norm(out_channels, out_channels, affine=True, size=3),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] with even H and W to [B, 2·C, H / 2, W / 2]."""
        return self.shortcut(x) + self.convolutions(x)


class Skeleton(nn.Module):
    """Base of all networks of the space: stem, stages of cells, residual blocks, head.

    Args:
        build_cell: (index of the cell, channels) → cell.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        init_channels: Channels C of the first stage.
        layers: Cells a stage.
        stem: Only `cifar`.

    Raises:
        ConfigError: An odd channel count or another stem.
    """

    def __init__(
        self,
        build_cell: Callable[[int, int], nn.Module],
        num_classes: int,
        in_channels: int,
        init_channels: int,
        layers: int,
        stem: str,
    ) -> None:
        super().__init__()
        check_stem(stem)
        if init_channels < 2 or init_channels % 2:
            raise ConfigError(
                f"init_channels={init_channels}: must be even and positive; use {max(2, init_channels + 1)}"
            )
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, init_channels, 3, padding=1, bias=False), nn.BatchNorm2d(init_channels)
        )
        self.cells = nn.ModuleList()
        self.reductions = nn.ModuleList()
        channels = init_channels
        for stage in range(STAGES):
            if stage:
                self.reductions.append(ResidualBlock(channels, 2 * channels))
                channels *= 2
            for _ in range(layers):
                self.cells.append(build_cell(len(self.cells), channels))
        self.layers = layers
        self.head = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.classifier = nn.Linear(channels, num_classes)

    def through(self, inputs: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """Compute logits [B, num_classes] of images [B, in_channels, H, W]; `run(cell, x)` applies a cell."""
        x = self.stem(inputs)
        for index, cell in enumerate(self.cells):
            if index and index % self.layers == 0:
                x = self.reductions[index // self.layers - 1](x)
            x = run(cell, x)
        return self.classifier(self.head(x).mean(dim=(2, 3)))


def check_stem(stem: str) -> None:
    """Refuse other stems than `cifar`.

    Raises:
        ConfigError: Another stem.
    """
    if stem != "cifar":
        raise ConfigError(
            f"stem={stem}: networks of NAS-Bench-201 have the stem cifar only; use search.stem=cifar and"
            " evaluation.stem=cifar"
        )
