"""What the supernet and the networks of a disparity space share: all but the edges of the cells.

Source: Saikia et al., AutoDispNet (ICCV 2019), and its released code (AutoDispNet-C): the same stems and cells read
either image; the correlation of their features and the features themselves enter an encoder, every second cell of which
halves the resolution and doubles the width; each cell of the decoder doubles the resolution, reads the left features of
its size and the prediction so far, and predicts anew.
Deviations: disparities are positive, and divided by a unit within the network; their bias begins at their mean, so that
no prediction begins dead; cells begin with a gain below one, as nothing is normalised; with `both_directions` off the
correlation has the displacements of rectified pairs only.
Shapes: B pairs, C' channels of an image, H rows, W columns; level l has 1 / 2^l of the rows and columns.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.core.batches import Maps
from nas_lightning.core.errors import ConfigError
from nas_lightning.disparity.correlation import correlation
from nas_lightning.disparity.operations import conv_block, initialised, up_block

NODES = 3
"""Nodes of a cell, all of which are joined into its output."""
GAIN = 0.25
"""Factor of what a cell makes of its inputs at first. A node sums its edges and nothing is normalised, so without it
activations grow fivefold a cell, and the first predictions are thousands of pixels."""
PREDICTION_GAIN = 0.1
"""The same of predictions, which so begin close to the mean."""
NORMAL, REDUCE, UP = "normal", "reduce", "up"
"""Kinds of cells, the names of their choices."""


@dataclass(frozen=True)
class Structure:
    """The network around the cells.

    Args:
        stems: Sizes of the first convolutions, each of stride 2.
        features: Reducing cells that read each image by itself.
        encoder: Cells behind the correlation, every second one of which reduces.
        decoder: Cells that double the resolution.
        max_displacement: Largest displacement D of the correlation, in pixels of its features.
        both_directions: Whether the correlation has the displacements −D … D, as released.
        stem_multiplier: Width of the first stem, as a multiple of C; each further one has twice that of the one before.
        prediction: What keeps predictions positive: `relu` or `softplus`.
        unit: Pixels of disparity that a prediction of 1 stands for.

    Raises:
        ConfigError: The decoder has more cells than the resolution was halved.
    """

    stems: tuple[int, ...] = (7, 5)
    features: int = 1
    encoder: int = 6
    decoder: int = 4
    max_displacement: int = 40
    both_directions: bool = False
    stem_multiplier: float = 2.0
    prediction: Literal["relu", "softplus"] = "relu"
    unit: float = 20.0

    def __post_init__(self) -> None:
        if any(size % 2 == 0 for size in self.stems):
            raise ConfigError(f"space.stems={list(self.stems)}: sizes of kernels are odd; use space.stems=[7,5]")
        if self.decoder > self.levels:
            raise ConfigError(
                f"space.decoder={self.decoder}: each cell doubles the resolution, which is halved {self.levels} times;"
                f" use at most space.decoder={self.levels}"
            )

    @property
    def levels(self) -> int:
        """How often the resolution is halved."""
        return len(self.stems) + self.features + self.encoder // 2

    @property
    def multiple(self) -> int:
        """What rows and columns of an image must be a multiple of."""
        return 2**self.levels

    @property
    def reach(self) -> int:
        """Largest disparity that the correlation sees, in pixels of the images."""
        return self.max_displacement * self.scale

    @property
    def scale(self) -> int:
        """Pixels of an image that a pixel of the correlated features stands for."""
        return int(2 ** (len(self.stems) + self.features))

    @property
    def displacements(self) -> int:
        """Channels of the correlation."""
        return self.max_displacement * (2 if self.both_directions else 1) + 1


class EncoderCell(nn.Module):
    """A cell of two inputs.

    Args:
        nodes: Computes all nodes from the inputs: (inputs, *further arguments) → nodes, each [B, C, h, w].
        before: Channels of the output of the cell before the last.
        last: Channels of that of the last cell.
        channels: Channels C of a node.
        reduced: Whether the last cell halved the resolution, so that the output before it has twice that.
    """

    def __init__(self, nodes: nn.Module, before: int, last: int, channels: int, reduced: bool) -> None:
        super().__init__()
        self.before = conv_block(before, channels, *((3, 2) if reduced else (1, 1)), GAIN)
        self.last = conv_block(last, channels, 1, 1, GAIN)
        self.nodes = nodes

    def forward(self, before: Tensor, last: Tensor, *context: object) -> Tensor:
        """Return the joined nodes [B, 3·C, h, w]; `context` is passed on to what computes them."""
        return torch.cat(self.nodes([self.before(before), self.last(last)], *context)[-NODES:], dim=1)


class DecoderCell(nn.Module):
    """A cell of four inputs that doubles the resolution.

    Args:
        nodes: As for `EncoderCell`.
        before: Channels of the output of the cell before the last.
        last: Channels of that of the last cell.
        feature: Channels of the features of the left image.
        channels: Channels C of a node.
        doubled: Whether the last cell doubled the resolution, so that the output before it has half of that.
    """

    def __init__(self, nodes: nn.Module, before: int, last: int, feature: int, channels: int, doubled: bool) -> None:
        super().__init__()
        fit = up_block(before, channels, GAIN) if doubled else conv_block(before, channels, 1, 1, GAIN)
        self.before = nn.Sequential(fit, up_block(channels, channels))
        self.last = nn.Sequential(conv_block(last, channels, 1, 1, GAIN), up_block(channels, channels))
        self.prediction = conv_block(1, channels, 1, 1, GAIN)
        self.feature = conv_block(feature, channels, 1, 1, GAIN)
        self.nodes = nodes

    def forward(self, before: Tensor, last: Tensor, predicted: Tensor, feature: Tensor, *context: object) -> Tensor:
        """Return the joined nodes [B, 3·C, h, w], of the size of the features of the left image."""
        inputs = [self.before(before), self.last(last), self.prediction(predicted), self.feature(feature)]
        return torch.cat(self.nodes(inputs, *context)[-NODES:], dim=1)


class Prediction(nn.Module):
    """A 3×3 convolution to one channel, kept positive.

    Args:
        channels: Channels of its input.
        positive: `relu` or `softplus`.
        mean: What it predicts at first, about, in units.
    """

    def __init__(self, channels: int, positive: str, mean: float) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, 1, 3, padding=1)
        initialised(self.convolution, channels * 9, PREDICTION_GAIN)
        self.positive = F.relu if positive == "relu" else F.softplus
        start = mean if positive == "relu" else math.log(math.expm1(max(mean, 1e-3)))
        assert self.convolution.bias is not None
        nn.init.constant_(self.convolution.bias, start)

    def forward(self, x: Tensor) -> Tensor:
        """Return disparities in units, [B, 1, h, w]."""
        return self.positive(self.convolution(x))


Nodes = Callable[[str, int, int], nn.Module]
"""(kind of cell, index of the cell, channels) → what computes its nodes."""
Call = Callable[..., Tensor]
"""(cell, its images…) → its output."""


class DisparityBody(nn.Module):
    """Stems, cells and predictions.

    Args:
        structure: The network around the cells.
        nodes: Builds what computes the nodes of a cell.
        in_channels: Channels C' of an image.
        channels: Width C of the structure.
        mean: Mean of the disparities in pixels, which the predictions begin with.

    Attributes:
        cells: Those of the features, the encoder and the decoder.
        kinds: Kind of each cell.
    """

    def __init__(self, structure: Structure, nodes: Nodes, in_channels: int, channels: int, mean: float) -> None:
        super().__init__()
        self.structure = structure
        self.kinds: list[str] = []
        self.cells = nn.ModuleList()
        self.stems = nn.ModuleList()
        self.supports = [in_channels]
        """Channels of the left features by level, those that the decoder reads."""
        for place, size in enumerate(structure.stems):
            width = int(structure.stem_multiplier * channels) * 2**place
            self.stems.append(conv_block(self.supports[-1], width, size, 2))
            self.supports.append(width)
        outputs = self._add_encoder(nodes, channels)
        self._add_decoder(nodes, outputs, mean)

    def _add_encoder(self, nodes: Nodes, channels: int) -> int:
        """Add the cells before the decoder; return the channels C of the last one."""
        structure = self.structure
        before = last = self.supports[-1]
        reduced = False
        for _ in range(structure.features):
            channels *= 2
            self._add(REDUCE, EncoderCell(nodes(REDUCE, len(self.cells), channels), before, last, channels, reduced))
            before, last, reduced = last, NODES * channels, True
            self.supports.append(last)
        before, last, reduced = 2 * last, structure.displacements, False
        for place in range(structure.encoder):
            kind = REDUCE if place % 2 else NORMAL
            channels *= 2 if kind == REDUCE else 1
            self._add(kind, EncoderCell(nodes(kind, len(self.cells), channels), before, last, channels, reduced))
            before, last, reduced = last, NODES * channels, kind == REDUCE
            if kind == REDUCE:
                self.supports.append(last)
        return channels

    def _add_decoder(self, nodes: Nodes, channels: int, mean: float) -> None:
        structure = self.structure
        start = mean / structure.unit
        last = NODES * channels if structure.encoder else structure.displacements
        before = last
        self.predictions = nn.ModuleList([Prediction(last, structure.prediction, start)])
        for place in range(structure.decoder):
            channels = max(1, channels // 2)
            feature = self.supports[structure.levels - 1 - place]
            cell = DecoderCell(nodes(UP, len(self.cells), channels), before, last, feature, channels, place > 0)
            self._add(UP, cell)
            before, last = last, NODES * channels
            self.predictions.append(Prediction(last, structure.prediction, start))

    def _add(self, kind: str, cell: nn.Module) -> None:
        self.kinds.append(kind)
        self.cells.append(cell)

    def features(self, images: Tensor, call: Call) -> list[Tensor]:
        """Return the features of images [N, C', H, W] by level, the images first."""
        levels = [images]
        for stem in self.stems:
            levels.append(stem(levels[-1]))
        before = last = levels[-1]
        for index in range(self.structure.features):
            before, last = last, call(index, before, last)
            levels.append(last)
        return levels

    def forward(self, pairs: Tensor, call: Call) -> Maps:
        """Predict the disparities of left images.

        Args:
            pairs: Left channels, then right ones, [B, 2·C', H, W].
            call: Computes a cell: (its index, its images…) → its output.

        Returns:
            Disparities in pixels, [B, 1, h, w]: after the encoder, after each cell of the decoder, and at full size.
        """
        structure = self.structure
        # One pass through the features for both images: nothing normalises, so neither sees the other.
        levels = self.features(torch.cat(pairs.chunk(2, dim=1)), call)
        left, right = levels[-1].chunk(2)
        supports = [level[: len(pairs)] for level in levels]
        before = torch.cat([left, right], dim=1)
        last = correlation(left, right, structure.max_displacement, structure.both_directions)
        index = structure.features
        for place in range(structure.encoder):
            before, last = last, call(index, before, last)
            index += 1
            if place % 2:
                supports.append(last)
        predicted = [self.predictions[0](last)]
        before = last
        for place in range(structure.decoder):
            feature = supports[structure.levels - 1 - place]
            resized = _resized(predicted[-1], feature)
            before, last = last, call(index, before, last, resized, feature)
            index += 1
            predicted.append(self.predictions[place + 1](last))
        return Maps(tuple(structure.unit * scale for scale in (*predicted, _resized(predicted[-1], pairs))))


def _resized(x: Tensor, like: Tensor) -> Tensor:
    """Return a map in the size of another, linearly; its values are disparities at full size and stay as they are."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
