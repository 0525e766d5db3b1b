"""The candidate operations of point clouds: convolutions over the graph of nearest neighbours.

Source: Li et al., SGAS (CVPR 2020), space of graph convolutions, and its released code (`gcn_lib.dense`), where
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

The released code decides by one index of a batch, its first, whether a graph has the points themselves; this is what
that comes to. What neighbours have in common is computed once a point, before neighbours are gathered: a convolution
and a maximum of differences are differences of convolutions and of maxima. Results are the same up to rounding.
Shapes: B clouds, C channels, N points; operations map [B, C, N, 1] to the same shape.
"""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.core.errors import ConfigError
from nas_lightning.points.neighbours import Neighbourhood, from_rows, to_rows
from nas_lightning.spaces.operations import Identity, Zero

SLOPE = 0.2
"""Slope of the leaky ReLUs."""


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
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C', N, 1] to [B, C, N, 1]."""
        return from_rows(self.of_rows(to_rows(x)), len(x))

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [B·N, C'] to [B·N, C]."""
        return self.norm(torch.relu(self.convolution(rows)))


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
        """Map rows [B·N, C] to the same shape."""
        raise NotImplementedError


class EdgeConv(GraphOperation):
    """Maximum over the neighbours of a layer of the point and of its difference to the neighbour."""

    def __init__(self, channels: int, graph: Neighbourhood) -> None:
        super().__init__(channels, graph)
        # The two halves of one convolution of [x_i, x_j − x_i].
        self.own = nn.Linear(channels, channels, bias=False)
        self.difference = nn.Linear(channels, channels, bias=False)
        for half in (self.own, self.difference):
            nn.init.uniform_(half.weight, -1 / sqrt(2 * channels), 1 / sqrt(2 * channels))
        self.norm = nn.BatchNorm1d(channels)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [B·N, C] to the same shape."""
        others = self.difference(rows)
        edges = torch.relu(self.own(rows) - others + self.graph.gathered(others, itself=False))
        return self.norm(edges.flatten(0, 1)).view_as(edges).amax(0)


class MaxRelative(GraphOperation):
    """A layer of the point and of the maximum of its neighbours' differences."""

    def __init__(self, channels: int, graph: Neighbourhood) -> None:
        super().__init__(channels, graph)
        self.layer = PointLayer(2 * channels, channels)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [B·N, C] to the same shape."""
        largest = self.graph.gathered(rows, itself=False).amax(0) - rows
        return self.layer.of_rows(torch.cat([rows, largest], dim=1))


class Attention(GraphOperation):
    """Mean of a layer over the point and its neighbours, weighted by one head of attention."""

    def __init__(self, channels: int, graph: Neighbourhood) -> None:
        super().__init__(channels, graph)
        self.layer = PointLayer(channels, channels)
        self.attention = nn.Parameter(torch.empty(2, channels))
        nn.init.uniform_(self.attention, -sqrt(3), sqrt(3))  # as released: Glorot's bound for a 1×1 kernel

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [B·N, C] to the same shape."""
        rows = self.layer.of_rows(rows)
        return (self.weights(rows) * self.graph.gathered(rows, itself=True)).sum(0)

    def weights(self, rows: Tensor) -> Tensor:
        """Return the weights of the neighbours of each point, [K, B·N, 1], of the rows [B·N, C] of the layer."""
        own, others = (rows @ self.attention.t()).split(1, dim=1)
        scores = own + self.graph.gathered(others, itself=True)
        return F.leaky_relu(scores, SLOPE).softmax(0)


class MeanOfNeighbours(GraphOperation):
    """Mean of a layer over the point and its neighbours: Kipf and Welling's convolution for equal degrees."""

    def __init__(self, channels: int, graph: Neighbourhood) -> None:
        super().__init__(channels, graph)
        self.layer = PointLayer(channels, channels)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [B·N, C] to the same shape."""
        return self.graph.gathered(self.layer.of_rows(rows), itself=True).mean(0)


class Isomorphism(GraphOperation):
    """A layer of the sum of the point and its neighbours, with ε = 0 as released."""

    def __init__(self, channels: int, graph: Neighbourhood) -> None:
        super().__init__(channels, graph)
        self.layer = PointLayer(channels, channels)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [B·N, C] to the same shape."""
        return self.layer.of_rows(rows + self.graph.gathered(rows, itself=False).sum(0))


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
        self.outer = nn.Linear(2 * channels, channels, bias=False)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Map rows [B·N, C] to the same shape."""
        inner = self.inner(rows)
        largest = self.graph.gathered(inner, itself=True).amax(0)
        largest = torch.relu(largest - inner if self.relative else largest)
        return F.normalize(torch.relu(self.outer(torch.cat([rows, largest], dim=1))), dim=1)


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


def build_point_operation(name: str, channels: int, graph: Neighbourhood) -> nn.Module:
    """Build a candidate operation, the same in the search and in networks.

    Args:
        name: One of `POINT_OPERATIONS`.
        channels: Channels C of input and output.
        graph: The neighbours, set while a cell computes.

    Raises:
        ConfigError: The name is unknown.
    """
    if name not in POINT_OPERATIONS:
        raise ConfigError(f"operation '{name}' is unknown; allowed: {', '.join(POINT_OPERATIONS)}")
    return POINT_OPERATIONS[name](channels, graph)
