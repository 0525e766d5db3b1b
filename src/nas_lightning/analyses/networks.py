"""A residual and a plain network for small images, as references for supernets.

Three stages; each doubles the channels and halves the resolution of the previous one. Images of more than 64 pixels a
side enter at a quarter of their resolution. Sources: He et al., Deep residual learning (CVPR 2016), section 4.2, the
networks for CIFAR-10 (depth 9 is ResNet-56), with 1×1 convolutions on the shortcuts of the blocks that halve;
Simonyan & Zisserman, VGG (ICLR 2015), with batch normalisation, a global average in place of the fully connected
layers, and the same number of layers in every stage, so that every stage has some that can be swapped.
Shapes: B images, C channels.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from nas_lightning.spaces.operations import Pointwise

STAGES = 3
_LARGE = 64  # pixels; larger images enter at a quarter of their resolution


class Staged(nn.Module):
    """Stem, stages of units, global average, linear classifier; a subclass defines the unit.

    Args:
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels, at least 4.
        channels: Channels of the first stage.
        depth: Units per stage; with 3 or more, every stage has two of equal shape.

    Attributes:
        stages: The units, stage by stage. Each unit has a `shape`; units of equal shape can be swapped.
    """

    unit: ClassVar[str]
    """Name of the units, in the plural, in tables."""

    def __init__(self, num_classes: int, in_channels: int, image_size: int, channels: int, depth: int) -> None:
        super().__init__()
        stride = 1 if image_size <= _LARGE else 4
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.stages = nn.ModuleList()
        width = channels
        for stage in range(STAGES):
            out = channels * 2**stage
            first = self.build(width, out, halve=stage > 0)
            self.stages.append(nn.Sequential(first, *(self.build(out, out, halve=False) for _ in range(depth - 1))))
            width = out
        self.classifier = nn.Linear(width, num_classes)

    def build(self, in_channels: int, out_channels: int, halve: bool) -> nn.Module:
        """Build a unit; the first of a later stage halves the resolution."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Map images [B, in_channels, H, W] to logits [B, num_classes]."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return self.classifier(x.mean(dim=(2, 3)))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions plus a shortcut: the identity, or a 1×1 convolution if the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.shape = (in_channels, out_channels, stride)
        self.convolutions = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if (in_channels, stride) != (out_channels, 1):
            self.shortcut = nn.Sequential(
                Pointwise(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, Ci, H, W] to [B, Co, H / stride, W / stride]."""
        return torch.relu(self.shortcut(x) + self.convolutions(x))


class ResNet(Staged):
    """Residual network; within a stage all blocks have one shape, except the first of a later stage."""

    unit = "blocks"

    def build(self, in_channels: int, out_channels: int, halve: bool) -> nn.Module:
        """Build a residual block."""
        return ResidualBlock(in_channels, out_channels, 2 if halve else 1)


class PlainLayer(nn.Module):
    """3×3 convolution, batch normalisation, ReLU; preceded by a 2×2 max-pool if it halves the resolution."""

    def __init__(self, in_channels: int, out_channels: int, halve: bool) -> None:
        super().__init__()
        self.shape = (in_channels, out_channels, halve)
        self.pool: nn.Module = nn.MaxPool2d(2) if halve else nn.Identity()
        self.convolution = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, Ci, H, W] to [B, Co, H, W], or to half of H and W."""
        return self.convolution(self.pool(x))


class VGG(Staged):
    """Plain network without shortcuts; within a stage all layers have one shape, except the first of a later stage."""

    unit = "layers"

    def build(self, in_channels: int, out_channels: int, halve: bool) -> nn.Module:
        """Build a layer."""
        return PlainLayer(in_channels, out_channels, halve)
