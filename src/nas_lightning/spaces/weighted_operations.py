"""The candidate operations of a supernet that have weights, whatever engine computes them."""

from typing import NamedTuple

from torch import nn

from nas_lightning.spaces.mixed import MixedOperation


class Place(NamedTuple):
    """The place of a candidate operation in a supernet.

    Attributes:
        choice: Name of the choice of operations.
        cell: Index of the cell.
        row: Row of the choice.
        option: Option of the row.
    """

    choice: str
    cell: int
    row: int
    option: int


def weighted_operations(supernet: nn.Module) -> dict[Place, nn.Module]:
    """Return the candidate operations that have weights, by place, first cell first.

    Skip connections are left out: at stride 2 they are convolutions, but no method here counts them as parametric.
    """
    return {
        Place(edge.edge.choice, edge.edge.cell, edge.edge.row, option): operation
        for edge in supernet.modules()
        if isinstance(edge, MixedOperation)
        for option, (name, operation) in enumerate(zip(edge.names, edge.operations, strict=True))
        if name != "skip_connect" and any(True for _ in operation.parameters())
    }
