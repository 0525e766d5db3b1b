"""Two parts of a network change places, and change back: a block with another, an edge of a cell with another.

Source: Wang et al., Rethinking architecture selection in differentiable NAS (ICLR 2021), Table 2.1 of the thesis, after
Veit et al., Residual networks behave like ensembles (NeurIPS 2016) and Greff et al. (ICLR 2017).
Shapes: R rows and O options of a choice.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import combinations
from typing import Any

from torch import Generator, Tensor, nn, randint

from nas_lightning.core.choices import Active, Mixing

Pair = tuple[int, int]


def equal_pairs(kinds: Sequence[Hashable]) -> list[Pair]:
    """All pairs of positions whose kinds are equal.

    >>> equal_pairs(["a", "b", "a", "a"])
    [(0, 2), (0, 3), (2, 3)]
    """
    return [(i, j) for i, j in combinations(range(len(kinds)), 2) if kinds[i] == kinds[j]]


def draw_pair(pairs: Sequence[Pair], generator: Generator) -> Pair | None:
    """One of the pairs, all equally likely; None of none."""
    return pairs[int(randint(len(pairs), (), generator=generator))] if pairs else None


@contextmanager
def swapped(parts: nn.ModuleList | nn.Sequential, first: int, second: int) -> Iterator[None]:
    """Within the block the two modules have changed places."""
    parts[first], parts[second] = parts[second], parts[first]
    try:
        yield
    finally:
        parts[first], parts[second] = parts[second], parts[first]


# Edges of a supernet ------------------------------------------------------------------------------------------


def search_cells(supernet: nn.Module) -> list[Any]:
    """The cells of a supernet in order: what has a `choice` and a mixed operation a row of it."""
    return [module for module in supernet.modules() if hasattr(module, "choice") and hasattr(module, "edges")]


def edge_pairs(cell: Any, kept: Tensor) -> list[Pair]:
    """Pairs of edges of a cell that can change places: of equal stride, and with some option left.

    Args:
        cell: A cell of `search_cells`.
        kept: Boolean [R, O]: the options that are computed.
    """
    strides = [edge.edge.stride for edge in cell.edges]
    return [pair for pair in equal_pairs(strides) if all(bool(kept[row].any()) for row in pair)]


@contextmanager
def edges_swapped(
    cells: Sequence[Any], pairs: Sequence[Pair | None], mixing: Mixing | None = None, active: Active | None = None
) -> Iterator[None]:
    """Within the block a pair of edges of each cell has changed places: all candidate operations of both.

    Args:
        cells: Cells of `search_cells`.
        pairs: A pair of rows for each of them; None changes nothing there.
        mixing: Mixing weights by choice, [R, O]. With them the weights move with their edge, whatever mixing weights
            the supernet is called with; without, those of the row stay where they are and weigh what has come there.
        active: With `mixing`: the options that are computed, likewise; None computes all there are.
    """
    with ExitStack() as stack:
        for cell, pair in zip(cells, pairs, strict=True):
            if pair is None:
                continue
            stack.enter_context(swapped(cell.edges, *pair))
            if mixing is None:
                continue
            name = cell.choice.name
            flags = (cell.choice.mask if active is None else active[name]).tolist()
            for row in pair:
                edge = cell.edges[row]
                home = edge.edge.row
                stack.enter_context(_weighted(edge, mixing[name][home], flags[home]))
        yield


@contextmanager
def _weighted(edge: nn.Module, weights: Tensor, active: list[bool]) -> Iterator[None]:
    """Within the block a mixed operation has these weights [O] and computes these options."""

    def replaced(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        x, _, _, *others = arguments
        return (x, weights, active, *others)

    handle = edge.register_forward_pre_hook(replaced)
    try:
        yield
    finally:
        handle.remove()
