"""The neighbours of points: the nearest points of a cloud, or those that given edges lead from.

They are known once a cell and shared by all of its operations, which see no more of them than the messages along edges.
Source: Li et al., SGAS (CVPR 2020), and its released code, after DeepGCNs (ICCV 2019): a dilation d takes the first
of the k·d nearest points and every d-th after it.
Shapes: B clouds, C channels, N points, K neighbours of a point, itself the first; E edges. Maps are [B, C, N, 1]; their
rows, [M, C] with M = B·N, are the points of all clouds, one after the other. Nodes of graphs with given edges are M
clouds of one point.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor


def nearest(x: Tensor, neighbours: int, dilation: int = 1) -> Tensor:
    """Return the indices of the nearest points, by distance, each point itself first.

    Distances have no gradient, and at least the precision of float32: rounding would change who is whose neighbour.

    Args:
        x: Maps [B, C, N, 1].
        neighbours: K, the point itself included.
        dilation: d; K·d is at most N.

    Returns:
        int64 [K, B, N].
    """
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        points = x.detach().squeeze(3).transpose(1, 2)
        points = points if points.dtype == torch.float64 else points.float()
        distances = torch.cdist(points, points)
        # Rounding could put another point, or a copy of the point, before the point itself.
        itself = torch.eye(points.shape[1], dtype=torch.bool, device=x.device)
        order = distances.masked_fill(itself, -1.0).topk(neighbours * dilation, largest=False, sorted=True).indices
        return order[..., ::dilation].permute(2, 0, 1)


class Messages:
    """What the neighbours of each point tell it, an edge each, and what can be made of it.

    Numbers of edges have the shape [*e, C], with the axes `*e` of the edges; whatever has nothing to reduce is 0.
    """

    def own(self, rows: Tensor) -> Tensor:
        """Return the rows [M, C] of the points that edges lead to, or what broadcasts to that, [*e, C]."""
        raise NotImplementedError

    def others(self, rows: Tensor) -> Tensor:
        """Return the rows [M, C] of the points that edges come from, [*e, C]."""
        raise NotImplementedError

    def reached(self, rows: Tensor) -> Tensor:
        """Return the rows [M, C] of the points that have edges, and 0 for the others."""
        return rows

    def total(self, edges: Tensor) -> Tensor:
        """Return the sum over the edges to each point, [M, C]."""
        raise NotImplementedError

    def largest(self, edges: Tensor) -> Tensor:
        """Return the maximum over the edges to each point, [M, C]; those that reach it share its gradient."""
        raise NotImplementedError

    def mean(self, edges: Tensor) -> Tensor:
        """Return the mean over the edges to each point, [M, C]."""
        raise NotImplementedError

    def softmax(self, edges: Tensor) -> Tensor:
        """Return numbers of the same shape whose sum over the edges to each point is 1."""
        raise NotImplementedError

    def smoothed(self, rows: Tensor) -> Tensor:
        """Return, of the rows [M, C] of the points, the sum over the edges to each by the roots of both degrees."""
        raise NotImplementedError


class NearestMessages(Messages):
    """Messages along equally many edges to each point, *e = K, M.

    Args:
        sources: Row of the point that each edge comes from, [K, M].
    """

    def __init__(self, sources: Tensor) -> None:
        self.sources = sources

    def own(self, rows: Tensor) -> Tensor:
        """Return the rows as they are: they broadcast along the edges."""
        return rows

    def others(self, rows: Tensor) -> Tensor:
        """Return the rows of the neighbours, [K, M, C]."""
        # Rows of all channels, the neighbours along the first axis: many times faster on a CPU than `gather`.
        return rows.index_select(0, self.sources.flatten()).view(*self.sources.shape, rows.shape[1])

    def total(self, edges: Tensor) -> Tensor:
        """Return the sum over the first axis."""
        return edges.sum(0)

    def largest(self, edges: Tensor) -> Tensor:
        """Return the maximum over the first axis."""
        return edges.amax(0)

    def mean(self, edges: Tensor) -> Tensor:
        """Return the mean over the first axis."""
        return edges.mean(0)

    def softmax(self, edges: Tensor) -> Tensor:
        """Return the softmax over the first axis."""
        return edges.softmax(0)

    def smoothed(self, rows: Tensor) -> Tensor:
        """Return the mean over the neighbours: as released, all degrees are taken to be equal."""
        return self.mean(self.others(rows))


class EdgeMessages(Messages):
    """Messages along given edges, *e = E; a point without edges has 0, as its mean and as its maximum.

    Args:
        sources: Row of the point that each edge comes from, [E].
        targets: Row of the point that it leads to, [E].
        count: M.
    """

    def __init__(self, sources: Tensor, targets: Tensor, count: int) -> None:
        self.sources = sources
        self.targets = targets
        self.count = count

    def own(self, rows: Tensor) -> Tensor:
        """Return the rows of the targets, [E, C]."""
        return rows.index_select(0, self.targets)

    def others(self, rows: Tensor) -> Tensor:
        """Return the rows of the sources, [E, C]."""
        return rows.index_select(0, self.sources)

    def reached(self, rows: Tensor) -> Tensor:
        """Return the rows of the points that have edges, and 0 for the others."""
        return rows * (self.degrees > 0).to(rows.dtype)

    def total(self, edges: Tensor) -> Tensor:
        """Return the sum over the edges to each point."""
        return self._sum(edges).to(edges.dtype)

    def largest(self, edges: Tensor) -> Tensor:
        """Return the maximum over the edges to each point."""
        targets = self.targets[:, None].expand_as(edges)
        # Torch counts what a maximum begins with among those that share its gradient, if equal, even where it is left
        # out of the maximum: so it is a number that no edge has.
        least = edges.new_full((self.count, edges.shape[1]), -torch.inf)
        found = least.scatter_reduce(0, targets, edges, "amax")
        return torch.where(self.degrees > 0, found, 0.0)

    def mean(self, edges: Tensor) -> Tensor:
        """Return the mean over the edges to each point."""
        return (self._sum(edges) / self.degrees.clamp(min=1)).to(edges.dtype)

    def softmax(self, edges: Tensor) -> Tensor:
        """Return the softmax over the edges to each point."""
        weights = (edges - self.own(self.largest(edges.detach()))).exp()  # a shift, which has no gradient
        return weights / self.own(self.total(weights))

    def smoothed(self, rows: Tensor) -> Tensor:
        """Return Σ x_j / √(d_i·d_j) over the edges from j to i, with d the number of edges to a point, [M, C]."""
        root = self.degrees.clamp(min=1).to(_exact(rows.dtype)).sqrt().to(rows.dtype)
        return self.total(self.others(rows / root)) / root

    @cached_property
    def degrees(self) -> Tensor:
        """Number of edges to each point, [M, 1]."""
        return self.targets.bincount(minlength=self.count)[:, None]

    def _sum(self, edges: Tensor) -> Tensor:
        """Return the sums in float32 at least: torch adds edges one by one, and 256 + 1 is 256 in bfloat16."""
        edges = edges.to(_exact(edges.dtype))
        return edges.new_zeros(self.count, edges.shape[1]).index_add(0, self.targets, edges)


def _exact(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


class Neighbourhood:
    """Who is whose neighbour within a cell, while that computes.

    The operations of a cell are called with their input alone, as in every space, so the graph stands beside it.
    """

    def __init__(self) -> None:
        self._links: Tensor | None = None

    @contextmanager
    def of(self, links: Tensor) -> Iterator[None]:
        """Let these be the neighbours within the block.

        Args:
            links: What says so, int64; its shape is that of the kind of neighbourhood.
        """
        self._links = links
        try:
            yield
        finally:
            self._links = None

    def messages(self, count: int, itself: bool) -> Messages:
        """Return the edges between the points.

        Args:
            count: M.
            itself: Whether a point is its own neighbour.
        """
        raise NotImplementedError

    @property
    def links(self) -> Tensor:
        """What says who is whose neighbour."""
        assert self._links is not None, "the neighbours are known only while a cell computes"
        return self._links


class NearestPoints(Neighbourhood):
    """The nearest points of each point, [K, B, N]; see `nearest`."""

    def messages(self, count: int, itself: bool) -> Messages:
        """Return the edges from the neighbours."""
        _, clouds, points = self.links.shape
        starts = torch.arange(clouds, device=self.links.device) * points
        rows = (self.links + starts[:, None]).flatten(1)
        return NearestMessages(rows if itself else rows[1:])


class GivenEdges(Neighbourhood):
    """Given edges between nodes, [2, E], from the first row to the second; none leads from a node to itself."""

    def messages(self, count: int, itself: bool) -> Messages:
        """Return these edges, and if asked one from each node to itself."""
        sources, targets = self.links
        if itself:
            loops = torch.arange(count, device=self.links.device)
            sources, targets = torch.cat([sources, loops]), torch.cat([targets, loops])
        return EdgeMessages(sources, targets, count)


def to_rows(x: Tensor) -> Tensor:
    """Return the rows [B·N, C] of maps [B, C, N, 1]."""
    return x.squeeze(3).transpose(1, 2).flatten(0, 1)


def from_rows(rows: Tensor, clouds: int) -> Tensor:
    """Return the maps [B, C, N, 1] of the rows [B·N, C] of B clouds."""
    return rows.unflatten(0, (clouds, -1)).transpose(1, 2).unsqueeze(3)
