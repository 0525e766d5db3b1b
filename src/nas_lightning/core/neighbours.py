"""The neighbours of an architecture: what differs from it in one decision.

A decision is the operation of an edge, the source of an edge where a node keeps fewer edges than it has, or one of the
options that a row of inputs or outputs takes. An edge that gets another source keeps its operation. Where the other
edge does not offer it, or the first edge not what the other one holds, any pair of operations makes two cells
neighbours: so the relation is symmetric, and all cells of a space are connected.

Sources: White et al., Local search is state of the art for NAS benchmarks (UAI 2021), and its released code naszilla,
in which a mutation of a cell changes an operation or a source with equal chances; Real et al., Regularized evolution
(AAAI 2019). Ours: the rule for edges with different operations, and rows that take several options.
Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator

from nas_lightning.core.choices import Choice, Mixing

Place = tuple[int, int]
"""A row and an option of it."""


@dataclass(frozen=True)
class Move:
    """A change of one decision.

    Args:
        choice: Name of the choice.
        off: The place that is left.
        on: The place that is taken instead.
    """

    choice: str
    off: Place
    on: Place

    def __call__(self, path: Mixing) -> Mixing:
        """Return the path after the move; the other choices are shared with the path before."""
        weights = path[self.choice].clone()
        weights[self.off], weights[self.on] = 0.0, 1.0
        return {**path, self.choice: weights}


def moves(choices: Mapping[str, Choice], path: Mixing) -> tuple[list[Move], list[Move]]:
    """Return the moves from a path: those that change an operation, and those that change a source, input or output.

    Args:
        choices: The choices of the space; weights of edges are no decisions.
        path: Zeros and ones by choice, each [R, O].
    """
    operations: list[Move] = []
    sources: list[Move] = []
    for name, choice in choices.items():
        taken = [row.nonzero().flatten().tolist() for row in path[name]]
        allowed = (choice.mask & choice.selectable if choice.kind == "op" else choice.mask).tolist()
        offered = [[option for option, open_ in enumerate(row) if open_] for row in allowed]
        if choice.kind == "op":
            operations += [
                Move(name, (row, held), (row, option))
                for row, options in enumerate(offered)
                for held in taken[row]
                for option in options
                if option != held
            ]
            sources += _other_sources(choice, taken, offered)
        elif choice.kind != "edge":
            sources += [
                Move(name, (row, held), (row, option))
                for row, options in enumerate(offered)
                for held in taken[row]
                for option in options
                if option not in taken[row]
            ]
    return operations, sources


def _other_sources(choice: Choice, taken: list[list[int]], offered: list[list[int]]) -> list[Move]:
    """Return the moves that give an edge of a node another source."""
    names = [[choice.options[row][option] for option in options] for row, options in enumerate(offered)]
    found: list[Move] = []
    for rows in choice.rows_of_node.values():
        for row in (row for row in rows if taken[row]):
            for other in (other for other in rows if not taken[other]):
                for held in taken[row]:
                    for option in offered[other]:
                        before, after = choice.options[row][held], choice.options[other][option]
                        if before == after or before not in names[other] or after not in names[row]:
                            found.append(Move(choice.name, (row, held), (other, option)))
    return found


def drawn_move(choices: Mapping[str, Choice], path: Mixing, generator: Generator | None = None) -> Move | None:
    """Draw a move: of an operation or of a source with equal chances, where there are both; None where there is none.

    Args:
        choices: The choices of the space.
        path: Zeros and ones by choice, each [R, O].
        generator: The generator to draw from; None is torch's global one.
    """
    kinds = [kind for kind in moves(choices, path) if kind]
    if not kinds:
        return None
    kind, place = torch.rand(2, generator=generator).tolist()
    among = kinds[int(kind * len(kinds))]
    return among[int(place * len(among))]
