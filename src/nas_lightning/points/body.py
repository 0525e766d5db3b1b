"""What stands around the cells of point clouds and of graphs, the same in the supernet and in networks.

Source: Li et al., SGAS (CVPR 2020), released code. For points (`gcn_point`): a 1×1 convolution to 3·C channels; cells;
a 1×1 convolution of all that these and the stem gave; maximum and mean over the points; three dense layers. For graphs
(`gcn_graph`): the same stem; cells; one dense layer for each node.
Shapes: B clouds, C channels of a node, N points, K classes or labels, L cells; n nodes, F features, e edges of graphs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nas_lightning.core import draws
from nas_lightning.core.batches import Graphs, Inputs
from nas_lightning.core.errors import ConfigError
from nas_lightning.points.neighbours import Neighbourhood, from_rows, nearest, to_rows
from nas_lightning.points.operations import GRAPHS, POINTS, SLOPE, Family, PointLayer, RowNorm

INPUTS = 2
"""Inputs of a cell: the outputs of the two cells before it."""


Call = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
"""Computes a cell from the outputs of the two before it and from what says who is whose neighbour."""
CellBuilder = Callable[[int, tuple[int, int]], nn.Module]
"""Builds a cell from its index and the channels of the two outputs before it."""


@dataclass(frozen=True)
class Structure:
    """What stands around the cells; one subclass a kind of data.

    Args:
        nodes: Intermediate nodes of a cell.
        stem_multiplier: Width of the stem, as a multiple of C.
    """

    family: ClassVar[Family]

    nodes: int = 3
    stem_multiplier: int = 3

    @property
    def joined(self) -> int:
        """Nodes that make up the output of a cell: the second input and the intermediate nodes."""
        return self.nodes + 1

    def rows(self, inputs: Any) -> tuple[Tensor, int]:
        """Return the rows [B·N, F] of a batch, and B."""
        raise NotImplementedError

    def links(self, inputs: Any, index: int, before: Tensor) -> Tensor:
        """Return who is whose neighbour in a cell; see the subclasses of `Neighbourhood`.

        Args:
            inputs: The batch.
            index: Index of the cell.
            before: Its first input, [B, C', N, 1].
        """
        raise NotImplementedError

    def head(self, widths: Sequence[int], num_classes: int) -> nn.Module:
        """Build what maps the outputs of stem and cells, of these widths, to logits."""
        raise NotImplementedError


class CellInputs(nn.Module):
    """The inputs of a cell: the two outputs before it, brought to its channels, and the neighbours of its points.

    Args:
        channels_in: Channels of the two outputs before it.
        channels: C.
        graph: Takes the neighbours.
    """

    def __init__(self, channels_in: tuple[int, int], channels: int, graph: Neighbourhood) -> None:
        super().__init__()
        self.graph = graph
        self.before, self.last = (PointLayer(width, channels) for width in channels_in)

    def computed(
        self, before: Tensor, last: Tensor, links: Tensor, nodes: Callable[[list[Tensor]], list[Tensor]]
    ) -> Tensor:
        """Compute the output of the cell.

        Args:
            before: Output of cell k-2, [B, C', N, 1].
            last: Output of cell k-1, likewise.
            links: Who is whose neighbour; see the subclasses of `Neighbourhood`.
            nodes: Computes all nodes from the two inputs, [B, C, N, 1] each.

        Returns:
            All nodes but the first input, [B, (nodes + 1)·C, N, 1].
        """
        with self.graph.of(links):
            return torch.cat(nodes([self.before(before), self.last(last)])[1:], dim=1)


class PointHead(nn.Module):
    """From the outputs of all cells to logits.

    Args:
        channels: Channels of all outputs together.
        embedding: Channels behind them.
        hidden: Widths of the dense layers before the classes.
        dropout: Probability of dropping a number behind each of these.
        num_classes: K.
    """

    def __init__(self, channels: int, embedding: int, hidden: Sequence[int], dropout: float, num_classes: int) -> None:
        super().__init__()
        self.dropout = dropout
        self.fusion = nn.Sequential(
            nn.Linear(channels, embedding, bias=False),
            nn.LeakyReLU(SLOPE),
            RowNorm(embedding),
        )
        widths = (2 * embedding, *hidden)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), nn.LeakyReLU(SLOPE), RowNorm(after))
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


class NodeHead(nn.Module):
    """From the output of the last cell to logits of each node; as released, with the mean over its channels.

    Args:
        channels: Channels of that output.
        num_classes: K.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels + 1, num_classes)

    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        """Map the outputs of stem and cells, [n, C', 1, 1] each, to logits [n, K]."""
        rows = to_rows(outputs[-1])
        logits: Tensor = self.classifier(torch.cat([rows.mean(1, keepdim=True), rows], dim=1))
        return logits


@dataclass(frozen=True)
class PointStructure(Structure):
    """Sizes of the network of point clouds around the cells.

    Args:
        neighbours: Neighbours of a point, itself included.
        embedding: Channels behind the cells.
        hidden: Widths of the dense layers before the classes.
        dropout: Probability of dropping a number behind each of them.
    """

    family = POINTS

    neighbours: int = 9
    embedding: int = 1024
    hidden: tuple[int, ...] = (512, 256)
    dropout: float = 0.5

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

    def rows(self, inputs: Tensor) -> tuple[Tensor, int]:
        """Return the points of clouds [B, F, N]."""
        return to_rows(inputs.unsqueeze(3)), len(inputs)

    def links(self, inputs: Tensor, index: int, before: Tensor) -> Tensor:
        """Return the nearest points by the first input of the cell, as released; see `nearest`."""
        return nearest(before, self.neighbours, index + 1)

    def head(self, widths: Sequence[int], num_classes: int) -> nn.Module:
        """Build the head of all outputs."""
        return PointHead(sum(widths), self.embedding, self.hidden, self.dropout, num_classes)


class GraphStructure(Structure):
    """What stands around the cells of graphs, a node of which is a cloud of one point."""

    family = GRAPHS

    def rows(self, inputs: Graphs) -> tuple[Tensor, int]:
        """Return the nodes, [n, F]."""
        return inputs.x, len(inputs.x)

    def links(self, inputs: Graphs, index: int, before: Tensor) -> Tensor:
        """Return the edges, the same in all cells."""
        return inputs.edge_index

    def head(self, widths: Sequence[int], num_classes: int) -> nn.Module:
        """Build the head of the last output."""
        return NodeHead(widths[-1], num_classes)


class Body(nn.Module):
    """Stem, cells and head.

    Args:
        structure: Their sizes.
        cell: Builds a cell.
        num_classes: K.
        in_channels: F, numbers of a point.
        channels: C.
        layers: L.
    """

    def __init__(
        self,
        structure: Structure,
        cell: CellBuilder,
        num_classes: int,
        in_channels: int,
        channels: int,
        layers: int,
    ) -> None:
        super().__init__()
        self.structure = structure
        width = structure.stem_multiplier * channels
        widths = (width, *(structure.joined * channels for _ in range(layers)))
        self.stem = nn.Sequential(nn.Linear(in_channels, width, bias=False), RowNorm(width))
        self.cells = nn.ModuleList(
            cell(index, (widths[max(0, index - 1)], last)) for index, last in enumerate(widths[:-1])
        )
        self.head = structure.head(widths, num_classes)

    def forward(self, inputs: Inputs, call: Call) -> Tensor:
        """Compute logits, [B, K] of clouds [B, F, N] or [n, K] of the nodes of graphs; `call` computes a cell."""
        rows, clouds = self.structure.rows(inputs)
        before = last = from_rows(self.stem(rows), clouds)
        outputs = [last]
        for index, cell in enumerate(self.cells):
            before, last = last, call(cell, before, last, self.structure.links(inputs, index, before))
            outputs.append(last)
        logits: Tensor = self.head(outputs)
        return logits
