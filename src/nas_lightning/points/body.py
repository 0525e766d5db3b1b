"""What stands around the cells of point clouds, the same in the supernet and in networks.

Source: Li et al., SGAS (CVPR 2020), released code (`gcn_point`): a 1×1 convolution to 3·C channels; cells; a 1×1
convolution of all that these and the stem gave; maximum and mean over the points; three dense layers.
Shapes: B clouds, C channels of a node, N points, K classes, L cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.points.neighbours import Neighbourhood, from_rows, nearest, to_rows
from nas_lightning.points.operations import SLOPE, PointLayer

INPUTS = 2
"""Inputs of a cell: the outputs of the two cells before it."""


@dataclass(frozen=True)
class Structure:
    """Sizes of the network around the cells.

    Args:
        nodes: Intermediate nodes of a cell.
        neighbours: Neighbours of a point, itself included.
        stem_multiplier: Width of the stem, as a multiple of C.
        embedding: Channels behind the cells.
        hidden: Widths of the dense layers before the classes.
        dropout: Probability of dropping a number behind each of them.
    """

    nodes: int = 3
    neighbours: int = 9
    stem_multiplier: int = 3
    embedding: int = 1024
    hidden: tuple[int, ...] = (512, 256)
    dropout: float = 0.5

    @property
    def joined(self) -> int:
        """Nodes that make up the output of a cell: the second input and the intermediate nodes."""
        return self.nodes + 1

    def check_points(self, points: int, layers: int, key: str) -> None:
        """Refuse clouds with fewer points than the last cell, of the largest dilation, looks at.

        Args:
            points: N.
            layers: L.
            key: Section of the configuration that sizes the network.

        Raises:
            ConfigError: They have fewer.
        """
        needed = self.neighbours * layers
        if needed > points:
            raise ConfigError(
                f"{key}.layers={layers}: the last cell looks at the {needed} nearest points, {self.neighbours} in steps"
                f" of {layers}, and clouds have {points}; use at most {key}.layers={points // self.neighbours} or fewer"
                " neighbours"
            )


class CellInputs(nn.Module):
    """The inputs of a cell: the two outputs before it, brought to its channels, and the neighbours of its points.

    Args:
        index: Index of the cell, from which its dilation follows.
        channels_in: Channels of the two outputs before it.
        channels: C.
        neighbours: Neighbours of a point, itself included.
        graph: Takes the neighbours.
    """

    def __init__(
        self, index: int, channels_in: tuple[int, int], channels: int, neighbours: int, graph: Neighbourhood
    ) -> None:
        super().__init__()
        self.dilation = index + 1
        self.neighbours = neighbours
        self.graph = graph
        self.before, self.last = (PointLayer(width, channels) for width in channels_in)

    def computed(self, before: Tensor, last: Tensor, nodes: Callable[[list[Tensor]], list[Tensor]]) -> Tensor:
        """Compute the output of the cell.

        Args:
            before: Output of cell k-2, [B, C', N, 1], from which the neighbours are taken, as released.
            last: Output of cell k-1, likewise.
            nodes: Computes all nodes from the two inputs, [B, C, N, 1] each.

        Returns:
            All nodes but the first input, [B, (nodes + 1)·C, N, 1].
        """
        with self.graph.of(nearest(before, self.neighbours, self.dilation)):
            return torch.cat(nodes([self.before(before), self.last(last)])[1:], dim=1)


class DenseNorm(nn.BatchNorm1d):
    """A batch normalisation of one number a channel and cloud, by the running statistics where a batch holds one cloud.

    One number has no deviation, and torch refuses it; the last batch of a part may hold one cloud.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C]."""
        if len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class PointHead(nn.Module):
    """From the outputs of all cells to logits.

    Args:
        channels: Channels of all outputs together.
        structure: Sizes.
        num_classes: K.
    """

    def __init__(self, channels: int, structure: Structure, num_classes: int) -> None:
        super().__init__()
        self.dropout = structure.dropout
        self.fusion = nn.Sequential(
            nn.Linear(channels, structure.embedding, bias=False),
            nn.LeakyReLU(SLOPE),
            nn.BatchNorm1d(structure.embedding),
        )
        widths = (2 * structure.embedding, *structure.hidden)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), nn.LeakyReLU(SLOPE), DenseNorm(after))
            for before, after in pairwise(widths)
        )
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        """Map the outputs of stem and cells, [B, C', N, 1] each, to logits [B, K]."""
        rows = self.fusion(torch.cat([to_rows(output) for output in outputs], dim=1))
        points = rows.unflatten(0, (len(outputs[0]), -1))
        y = torch.cat([points.amax(1), points.mean(1)], dim=1)
        for index, layer in enumerate(self.layers):
            y = layer(y)
            if self.training and self.dropout:
                keep = 1 - self.dropout
                y = y * draws.bernoulli(tuple(y.shape), keep, y, "point_dropout", index) / keep
        return self.classifier(y)


class PointBody(nn.Module):
    """Stem, cells and head.

    Args:
        structure: Sizes.
        cell: Builds a cell from its index and the channels of the two outputs before it.
        num_classes: K.
        in_channels: Coordinates of a point.
        channels: C.
        layers: L.
    """

    def __init__(
        self,
        structure: Structure,
        cell: Callable[[int, tuple[int, int]], nn.Module],
        num_classes: int,
        in_channels: int,
        channels: int,
        layers: int,
    ) -> None:
        super().__init__()
        width = structure.stem_multiplier * channels
        self.stem = nn.Sequential(nn.Linear(in_channels, width, bias=False), nn.BatchNorm1d(width))
        self.cells = nn.ModuleList()
        before = last = total = width
        for index in range(layers):
            self.cells.append(cell(index, (before, last)))
            before, last = last, structure.joined * channels
            total += last
        self.head = PointHead(total, structure, num_classes)

    def forward(self, points: Tensor, call: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Tensor:
        """Compute logits [B, K].

        Args:
            points: Clouds [B, in_channels, N].
            call: Computes a cell from the outputs of the two before it.
        """
        before = last = from_rows(self.stem(to_rows(points.unsqueeze(3))), len(points))
        outputs = [last]
        for cell in self.cells:
            before, last = last, call(cell, before, last)
            outputs.append(last)
        return self.head(outputs)
