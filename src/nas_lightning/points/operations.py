"""The candidate operations of point clouds and of graphs: convolutions over neighbours.

Source: Li et al., SGAS (CVPR 2020), spaces of graph convolutions, and its released code (`gcn_lib.dense`), where
`rel_sage` is `res_sage`. Convolutions are 1×1 without biases, in the order convolution, ReLU, batch normalisation, and
that is affine in the search, too. With h such a layer, N(i) the neighbours of point i without itself, N⁺(i) with it:

    conv_1x1   h(x_i)
    edge_conv  max over j in N(i) of h([x_i, x_j − x_i])
    mr_conv    h([x_i, max over j in N(i) of x_j − x_i])
    gat        Σ over j in N⁺(i) of a_ij·h(x_j),  a_ij = softmax over j of LeakyReLU(a·[h(x_i), h(x_j)])
    semi_gcn   mean over j in N⁺(i) of h(x_j)
    gin        h(x_i + Σ over j in N(i) of x_j)
    sage       ReLU(W·[x_i, max over j in N⁺(i) of ReLU(V·x_j)]) over its length, without normalisation
    rel_sage   the same with V·(x_j − x_i)

On graphs with given edges, other layers are released (`gcn_lib.sparse`, which calls those of PyTorch Geometric, as in
the authors' DeepGCNs), so four operations differ. With V a convolution, h⁺ the ReLU and the normalisation of h, d_i the
size of N⁺(i):

    gat        h⁺(Σ over j in N⁺(i) of a_ij·V·x_j),  a_ij = softmax over j of LeakyReLU(a·[V·x_i, V·x_j])
    semi_gcn   h⁺(Σ over j in N⁺(i) of V·x_j / √(d_i·d_j))
    sage       h([x_i, mean over j in N⁺(i) of V·x_j]) over its length
    rel_sage   the same with V·(x_j − x_i)

The released code decides by one index of a batch, its first, whether a graph has the points themselves; this is what
that comes to. What neighbours have in common is computed once a point, before neighbours are gathered: a convolution
and a maximum of differences are differences of convolutions and of maxima. Results are the same up to rounding.
Shapes: B clouds, C channels, N points, M = B·N rows; operations map [B, C, N, 1] to the same shape.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.core.errors import ConfigError
from nas_lightning.points.neighbours import (
    GivenEdges,
    Messages,
    NearestPoints,
    Neighbourhood,
    from_rows,
    to_rows,
)
from nas_lightning.spaces.operations import Identity, Zero

SLOPE = 0.2
"""Slope of the leaky ReLUs."""


class RowNorm(nn.BatchNorm1d):
    """A batch normalisation of rows, by the running statistics where there are fewer than two.

    One number has no deviation, and torch refuses it; the last batch of a part may hold one cloud, a graph one edge.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [M, C]."""
        if len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class PointLayer(nn.Module):
    """The layer h: a 1×1 convolution without biases, a ReLU and an affine batch normalisation.

    On the rows it is a product of matrices, which costs a fraction of a convolution of so few channels.

    Args:
        in_channels: C'.
        channels: C.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Linear(in_channels, channels, bias=False)
        self.norm = RowNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C', N, 1] to [B, C, N, 1]."""
        return from_rows(self.of_rows(to_rows(x)), len(x))

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [M, C'] to [M, C]."""
        return self.activated(self.convolution(rows))

    def activated(self, rows: Tensor) -> Tensor:
        """Return the rows [M, C] of the convolution behind the ReLU and the normalisation."""
        return self.norm(torch.relu(rows))


class GraphOperation(nn.Module):
    """An operation on the rows of the points and of their neighbours.

    Args:
        channels: C.
        graph: The neighbours, set while a cell computes.
    """

    def __init__(self, channels: int, graph: Neighbourhood) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, N, 1] to the same shape."""
        return from_rows(self.of_rows(to_rows(x)), len(x))

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [M, C] to the same shape."""
        raise NotImplementedError

    def messages(self, rows: Tensor, itself: bool) -> Messages:
        """Return the edges between the points of rows [M, C], from each to itself, too, where that is asked."""
        return self.graph.messages(len(rows), itself)


class EdgeConv(GraphOperation):
    """Maximum over the neighbours of a layer of the point and of its difference to the neighbour."""

    def __init__(self, channels: int, graph: Neighbourhood) -> None:
        super().__init__(channels, graph)
        # The two halves of one convolution of [x_i, x_j − x_i].
        self.own = nn.Linear(channels, channels, bias=False)
        self.difference = nn.Linear(channels, channels, bias=False)
        for half in (self.own, self.difference):
            nn.init.uniform_(half.weight, -1 / sqrt(2 * channels), 1 / sqrt(2 * channels))
        self.norm = RowNorm(channels)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [M, C] to the same shape."""
        messages, others = self.messages(rows, itself=False), self.difference(rows)
        edges = torch.relu(messages.own(self.own(rows) - others) + messages.others(others))
        return messages.largest(self.norm(edges.flatten(0, -2)).view_as(edges))


class MaxRelative(GraphOperation):
    """A layer of the point and of the maximum of its neighbours' differences."""

    def __init__(self, channels: int, graph: Neighbourhood) -> None:
        super().__init__(channels, graph)
        self.layer = PointLayer(2 * channels, channels)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [M, C] to the same shape."""
        messages = self.messages(rows, itself=False)
        largest = messages.largest(messages.others(rows)) - messages.reached(rows)
        return self.layer.of_rows(torch.cat([rows, largest], dim=1))


class Aggregation(GraphOperation):
    """A weighted sum of a layer over the point and its neighbours.

    Args:
        channels: C.
        graph: The neighbours, set while a cell computes.
        activated_first: Whether ReLU and normalisation of the layer come before the sum, as on point clouds, or after
            it, as in the layers of PyTorch Geometric, whose weights begin as theirs, by Glorot's bound.
    """

    def __init__(self, channels: int, graph: Neighbourhood, activated_first: bool = True) -> None:
        super().__init__(channels, graph)
        self.activated_first = activated_first
        self.layer = PointLayer(channels, channels)
        if not activated_first:
            nn.init.xavier_uniform_(self.layer.convolution.weight)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [M, C] to the same shape."""
        messages = self.messages(rows, itself=True)
        if self.activated_first:
            return self.aggregated(self.layer.of_rows(rows), messages)
        return self.layer.activated(self.aggregated(self.layer.convolution(rows), messages))

    def aggregated(self, rows: Tensor, messages: Messages) -> Tensor:
        """Return the weighted sums, [M, C], of the rows [M, C] of the layer."""
        raise NotImplementedError


class Attention(Aggregation):
    """Mean of a layer over the point and its neighbours, weighted by one head of attention; see `Aggregation`."""

    def __init__(self, channels: int, graph: Neighbourhood, activated_first: bool = True) -> None:
        super().__init__(channels, graph, activated_first)
        self.attention = nn.Parameter(torch.empty(2, channels))
        # As released: Glorot's bound for a 1×1 kernel of as many outputs, and for a tensor [1, 1, 2·C].
        bound = sqrt(3) if activated_first else sqrt(6 / (1 + 2 * channels))
        nn.init.uniform_(self.attention, -bound, bound)

    def aggregated(self, rows: Tensor, messages: Messages) -> Tensor:
        """Return the weighted means."""
        return messages.total(self.weights(rows, messages) * messages.others(rows))

    def weights(self, rows: Tensor, messages: Messages) -> Tensor:
        """Return the weights of the edges, [*e, 1], from the rows [M, C] of the layer."""
        own, others = (rows @ self.attention.t()).split(1, dim=1)
        return messages.softmax(F.leaky_relu(messages.own(own) + messages.others(others), SLOPE))


class MeanOfNeighbours(Aggregation):
    """Mean of a layer over the point and its neighbours: Kipf and Welling's convolution; see `Aggregation`."""

    def aggregated(self, rows: Tensor, messages: Messages) -> Tensor:
        """Return the sums by the degrees."""
        return messages.smoothed(rows)


class Isomorphism(GraphOperation):
    """A layer of the sum of the point and its neighbours, with ε = 0 as released."""

    def __init__(self, channels: int, graph: Neighbourhood) -> None:
        super().__init__(channels, graph)
        self.layer = PointLayer(channels, channels)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [M, C] to the same shape."""
        messages = self.messages(rows, itself=False)
        return self.layer.of_rows(rows + messages.total(messages.others(rows)))


class Sage(GraphOperation):
    """A layer of the point and of the maximum of a layer of its neighbours, of length one.

    Args:
        channels: C.
        graph: The neighbours, set while a cell computes.
        relative: Whether the inner layer reads the differences to the neighbours, not the neighbours.
    """

    def __init__(self, channels: int, graph: Neighbourhood, relative: bool) -> None:
        super().__init__(channels, graph)
        self.relative = relative
        self.inner = nn.Linear(channels, channels, bias=False)
        self.outer = self.outer_layer(channels)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [M, C] to the same shape."""
        inner, messages = self.inner(rows), self.messages(rows, itself=True)
        found = self.reduced(messages, messages.others(inner))
        return F.normalize(self.joined(rows, found - inner if self.relative else found), dim=1)

    def outer_layer(self, channels: int) -> nn.Module:
        """Build the layer that reads the point and its neighbours."""
        return nn.Linear(2 * channels, channels, bias=False)

    def reduced(self, messages: Messages, edges: Tensor) -> Tensor:
        """Return what the edges [*e, C] to each point come to, [M, C]."""
        return messages.largest(edges)

    def joined(self, rows: Tensor, found: Tensor) -> Tensor:
        """Return the outer layer of the points [M, C] and of what their neighbours come to, [M, C]."""
        return torch.relu(self.outer(torch.cat([rows, torch.relu(found)], dim=1)))


class MeanSage(Sage):
    """A normalised layer of the point and of the mean of a convolution of its neighbours, of length one; see `Sage`."""

    def outer_layer(self, channels: int) -> nn.Module:
        """Build the layer, with its normalisation."""
        return PointLayer(2 * channels, channels)

    def reduced(self, messages: Messages, edges: Tensor) -> Tensor:
        """Return the mean."""
        return messages.mean(edges)

    def joined(self, rows: Tensor, found: Tensor) -> Tensor:
        """Return the outer layer of both, without a ReLU in between."""
        layer: Any = self.outer
        return layer.of_rows(torch.cat([rows, found], dim=1))


Builder = Callable[[int, Neighbourhood], nn.Module]

POINT_OPERATIONS: dict[str, Builder] = {
    "none": lambda channels, graph: Zero(1),
    "skip_connect": lambda channels, graph: Identity(),
    "conv_1x1": lambda channels, graph: PointLayer(channels, channels),
    "edge_conv": EdgeConv,
    "mr_conv": MaxRelative,
    "gat": Attention,
    "semi_gcn": MeanOfNeighbours,
    "gin": Isomorphism,
    "sage": lambda channels, graph: Sage(channels, graph, relative=False),
    "rel_sage": lambda channels, graph: Sage(channels, graph, relative=True),
}
"""Builders by the names of SGAS: (channels, neighbours) → module."""


GRAPH_OPERATIONS: dict[str, Builder] = POINT_OPERATIONS | {
    "gat": partial(Attention, activated_first=False),
    "semi_gcn": partial(MeanOfNeighbours, activated_first=False),
    "sage": partial(MeanSage, relative=False),
    "rel_sage": partial(MeanSage, relative=True),
}
"""Builders by the same names, for graphs with given edges."""


@dataclass(frozen=True)
class Family:
    """The operations on one kind of graph.

    Args:
        operations: Builders by name.
        neighbourhood: Makes what says who is whose neighbour.
    """

    operations: Mapping[str, Builder]
    neighbourhood: type[Neighbourhood]

    def build(self, name: str, channels: int, graph: Neighbourhood) -> nn.Module:
        """Build a candidate operation, the same in the search and in networks.

        Args:
            name: One of `operations`.
            channels: Channels C of input and output.
            graph: The neighbours, set while a cell computes.

        Raises:
            ConfigError: The name is unknown.
        """
        if name not in self.operations:
            raise ConfigError(f"operation '{name}' is unknown; allowed: {', '.join(self.operations)}")
        return self.operations[name](channels, graph)


POINTS = Family(POINT_OPERATIONS, NearestPoints)
"""On the nearest neighbours of points."""
GRAPHS = Family(GRAPH_OPERATIONS, GivenEdges)
"""On given edges."""
