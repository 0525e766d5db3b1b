"""Temporary swaps of two parts of a network: of two blocks, or of two edges of a cell.

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
    """Return all pairs of positions of equal kind.

    >>> equal_pairs(["a", "b", "a", "a"])
    [(0, 2), (0, 3), (2, 3)]
    """
    return [(i, j) for i, j in combinations(range(len(kinds)), 2) if kinds[i] == kinds[j]]


def draw_pair(pairs: Sequence[Pair], generator: Generator) -> Pair | None:
    """Draw one of the pairs uniformly; None if there is none."""
    return pairs[int(randint(len(pairs), (), generator=generator))] if pairs else None


@contextmanager
def swapped(parts: nn.ModuleList | nn.Sequential, first: int, second: int) -> Iterator[None]:
    """Swap two modules within the block."""
    parts[first], parts[second] = parts[second], parts[first]
    try:
        yield
    finally:
        parts[first], parts[second] = parts[second], parts[first]


def search_cells(supernet: nn.Module) -> list[Any]:
    """Return the cells of a supernet in order: modules with a `choice` and `edges`, one mixed operation per row."""
    return [module for module in supernet.modules() if hasattr(module, "choice") and hasattr(module, "edges")]


def edge_pairs(cell: Any, kept: Tensor) -> list[Pair]:
    """Return the pairs of edges of a cell that can be swapped: of equal stride, each with an option left.

    Args:
        cell: A cell from `search_cells`.
        kept: Boolean [R, O], true for the options that the search kept.
    """
    strides = [edge.edge.stride for edge in cell.edges]
    return [pair for pair in equal_pairs(strides) if all(bool(kept[row].any()) for row in pair)]


@contextmanager
def edges_swapped(
    cells: Sequence[Any], pairs: Sequence[Pair | None], mixing: Mixing | None = None, active: Active | None = None
) -> Iterator[None]:
    """Swap a pair of edges of each cell within the block: all candidate operations of both.

    Args:
        cells: Cells from `search_cells`.
        pairs: A pair of rows for each cell; None leaves the cell unchanged.
        mixing: Mixing weights by choice, [R, O]. If given, the weights move with their edge, whatever mixing weights
            the supernet is called with; if not, they stay with the row and apply to the edge moved there.
        active: With `mixing`, the active options by choice, [R, O], which move likewise; None is all that exist.
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
                home = edge.edge.row  # where it came from: the modules are swapped by now
                stack.enter_context(_weighted(edge, mixing[name][home], flags[home]))
        yield


@contextmanager
def _weighted(edge: nn.Module, weights: Tensor, active: list[bool]) -> Iterator[None]:
    """Fix the weights [O] and the active options of a mixed operation within the block."""

    def replace_arguments(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        x, _, _, *others = arguments
        return (x, weights, active, *others)

    handle = edge.register_forward_pre_hook(replace_arguments)
    try:
        yield
    finally:
        handle.remove()
