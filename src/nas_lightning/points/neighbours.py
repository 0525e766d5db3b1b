"""The nearest neighbours of the points of a cloud, computed once a cell and shared by all of its operations.

Source: Li et al., SGAS (CVPR 2020), and its released code, after DeepGCNs (ICCV 2019): a dilation d takes the first
of the k·d nearest points and every d-th after it.
Shapes: B clouds, C channels, N points, K neighbours of a point, itself the first. Maps are [B, C, N, 1]; their rows,
[B·N, C], are the points of all clouds, one after the other.
"""

from collections.abc import Iterator
from contextlib import contextmanager

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


class Neighbourhood:
    """Who is whose neighbour within a cell, while that computes.

    The operations of a cell are called with their input alone, as in every space, so the graph stands beside it.
    """

    def __init__(self) -> None:
        self._rows: Tensor | None = None

    @contextmanager
    def of(self, indices: Tensor) -> Iterator[None]:
        """Let these be the neighbours within the block.

        Args:
            indices: [K, B, N], each point itself first; see `nearest`.
        """
        _, clouds, points = indices.shape
        starts = torch.arange(clouds, device=indices.device) * points
        self._rows = (indices + starts[:, None]).flatten(1)
        try:
            yield
        finally:
            self._rows = None

    def gathered(self, rows: Tensor, itself: bool) -> Tensor:
        """Return the rows of the neighbours of each point.

        Args:
            rows: [B·N, C].
            itself: Whether a point is its own neighbour.

        Returns:
            [K, B·N, C], or [K − 1, B·N, C] without the point itself.
        """
        assert self._rows is not None, "the neighbours are known only while a cell computes"
        chosen = self._rows if itself else self._rows[1:]
        # Rows of all channels, the neighbours along the first axis: many times faster on a CPU than `gather`.
        return rows.index_select(0, chosen.flatten()).view(*chosen.shape, rows.shape[1])


def to_rows(x: Tensor) -> Tensor:
    """Return the rows [B·N, C] of maps [B, C, N, 1]."""
    return x.squeeze(3).transpose(1, 2).flatten(0, 1)


def from_rows(rows: Tensor, clouds: int) -> Tensor:
    """Return the maps [B, C, N, 1] of the rows [B·N, C] of B clouds."""
    return rows.unflatten(0, (clouds, -1)).transpose(1, 2).unsqueeze(3)
