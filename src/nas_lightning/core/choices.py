"""Choices: a search space as data that relaxations, perturbations, selectors and plots can read."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

ChoiceKind = Literal["op", "edge", "input", "output"]
Mixing = dict[str, Tensor]
"""Mixing weights by the name of the choice, each [rows, options]."""
Active = dict[str, Tensor]
"""Options that are computed, by the name of the choice, each boolean [rows, options]."""

_EDGE_SUFFIX = "_edge"


def edge_key(name: str) -> str:
    """Return the name of the choice of edges that belongs to a choice of operations.

    >>> edge_key("normal")
    'normal_edge'
    """
    return name + _EDGE_SUFFIX


def operation_key(name: str) -> str:
    """Return the name of the choice of operations that a choice of edges belongs to: the inverse of `edge_key`.

    >>> operation_key("normal_edge")
    'normal'
    """
    return name.removesuffix(_EDGE_SUFFIX)


def offset_key(name: str) -> str:
    """Return the key in a `Mixing` of the offsets [R] that a hard Gumbel sample adds to the sums of a choice's edges.

    >>> offset_key("normal")
    'normal.offset'
    """
    return f"{name}.offset"


@dataclass(frozen=True)
class Choice:
    """A table of decisions of one kind: each row chooses among its options.

    Args:
        name: Key in `mixing` (`normal`, `reduce`, `cell`, …).
        kind: `op` (an operation on an edge), `edge`, `input` or `output`.
        options: Names of the options, row by row; rows may differ in length.
        sources: For each row, the node that the edge leaves.
        nodes: For each row, the node that the edge enters; rows of one node compete where `keep` is set.
        keep: How many rows each node keeps when a genotype is derived; None keeps all.
        none_selectable: True where a genotype may hold the option `none` (NAS-Bench-201); False where it takes part in
            the search only (DARTS).
        take: For each row, how many of its options an architecture takes; None takes one of each.
        open: For each row, O flags of the open options; None opens all that the row has. See `restricted`.
        none_drawn: False where random paths leave the option `none` out, whatever else is asked for (recurrent cells,
            whose nodes have a single edge).
        keep_all: Nodes that keep all their rows, whatever `keep` says.
    """

    name: str
    kind: ChoiceKind
    options: tuple[tuple[str, ...], ...]
    sources: tuple[int, ...]
    nodes: tuple[int, ...]
    keep: int | None = None
    none_selectable: bool = False
    take: tuple[int, ...] | None = None
    open: tuple[tuple[bool, ...], ...] | None = None
    none_drawn: bool = True
    keep_all: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.options) == len(self.sources) == len(self.nodes)
        if self.take is not None:
            assert all(0 < k <= len(row) for k, row in zip(self.take, self.options, strict=True))
        if self.open is not None:
            assert [len(row) for row in self.open] == [self.num_options] * self.num_rows

    @property
    def num_rows(self) -> int:
        """Number of rows R."""
        return len(self.options)

    @property
    def taken(self) -> tuple[int, ...]:
        """Number of options that an architecture takes, row by row."""
        return self.take or (1,) * self.num_rows

    @property
    def num_options(self) -> int:
        """Number of columns O: the options of the longest row."""
        return max(map(len, self.options))

    @cached_property
    def mask(self) -> Tensor:
        """Boolean [R, O]: True where the row has that option and it is open."""
        lengths = torch.tensor([len(row) for row in self.options])
        offered = torch.arange(self.num_options) < lengths[:, None]
        return offered if self.open is None else offered & torch.tensor(self.open)

    @property
    def built(self) -> tuple[tuple[str, ...], ...]:
        """Names of the operations that a supernet builds, row by row: `none`, which has no weights, where not open."""
        if self.open is None:
            return self.options
        return tuple(
            tuple(op if open_ else "none" for op, open_ in zip(row, of_row, strict=False))
            for row, of_row in zip(self.options, self.open, strict=True)
        )

    @cached_property
    def selectable(self) -> Tensor:
        """Boolean [R, O]: True where a genotype may hold that option."""
        rows = [[op != "none" or self.none_selectable for op in row] for row in self.options]
        padded = [row + [False] * (self.num_options - len(row)) for row in rows]
        return torch.tensor(padded)

    def restricted(self, kept: Tensor) -> "Choice":
        """Return this choice with its open options reduced to those in `kept`, boolean [R, O]."""
        mask = self.mask & kept.cpu()
        return self if torch.equal(mask, self.mask) else replace(self, open=tuple(map(tuple, mask.tolist())))

    def where(self, op: str) -> Tensor:
        """Return a boolean [R, O]: True where the option is that operation."""
        rows = [[option == op for option in options] for options in self.options]
        return torch.tensor([row + [False] * (self.num_options - len(row)) for row in rows])

    @property
    def rows_of_node(self) -> dict[int, list[int]]:
        """Rows by the node they enter, in index order."""
        rows: dict[int, list[int]] = {}
        for row, node in enumerate(self.nodes):
            rows.setdefault(node, []).append(row)
        return rows

    def kept_at(self, node: int, keep: int | None = None) -> int | None:
        """Return how many rows a node keeps, None for all; `keep` replaces the number of the choice.

        >>> choice = Choice("up", "op", (("a", "b"),) * 3, (0, 1, 1), (2, 2, 3), keep=1, keep_all=(2,))
        >>> choice.kept_at(2), choice.kept_at(3)
        (None, 1)
        """
        return None if node in self.keep_all else keep or self.keep

    def uniform(self, kept: Tensor | None = None) -> Tensor:
        """Return equal weights over the (kept) options of each row, [R, O]; zeros where none is kept."""
        mask = (self.mask if kept is None else self.mask & kept).float()
        return mask / mask.sum(dim=1, keepdim=True).clamp(min=1)

    def one_hot(self, indices: list[int]) -> Tensor:
        """Return weight 1 on option `indices[r]` of row r and 0 elsewhere, [R, O]."""
        return torch.nn.functional.one_hot(torch.tensor(indices), self.num_options).float()
