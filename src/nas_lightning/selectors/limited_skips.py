"""Selection with a limited number of skip connections (Chen et al., P-DARTS, ICCV 2019, section 3.3)."""

from typing import Annotated

import torch
from pydantic import Field

from nas_lightning.core.choices import Choice, Mixing, edge_key
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace
from nas_lightning.spaces.cell_genotypes import strengths_of

SKIP = "skip_connect"


class LimitedSkips(Selector):
    """Keeps the strongest options and edges, with at most so many skip connections in one kind of cell.

    The strength of an edge is that of its best option that a genotype may hold; each node keeps the strongest edges. As
    long as the cell has more skip connections than the limit, the strength of the weakest one among them becomes 0 and
    options and edges are selected anew. It ends when none is left to drop: an edge may offer nothing else.

    Source: the released code, which lists the cells of every limit from 8 to 0; the paper takes 2. Unlike DARTS, the
    later of equal edges is kept, and of equal options; of equal skip connections the first is dropped.

    Args:
        limit: Most skip connections M.
        cell: Kind of cell that is limited; None is the first of the space: `normal`, or `cell`.
    """

    def __init__(self, limit: Annotated[int, Field(ge=0)] = 2, cell: str | None = None) -> None:
        self.limit = limit
        self.cell = cell

    def __call__(self, space: SearchSpace, strengths: Mixing) -> Genotype:
        """Return the genotype of the strengths.

        Raises:
            GenotypeError: A strength is NaN.
        """
        limited = self._limited(space)
        path: Mixing = {}
        for name, choice in space.choices.items():
            table = strengths_of(strengths, name)
            if choice.kind != "op":
                path[name] = strengths[name].detach().cpu()
                continue
            offered, weights = offered_options(choice, table), edge_weights(choice, strengths)
            taken = (
                limit_skips(choice, table, offered, weights, self.limit)
                if name == limited
                else selected(choice, table, offered, weights)
            )
            path[name] = torch.zeros(choice.num_rows, choice.num_options)
            for row, option in taken.items():
                path[name][row, option] = 1.0
        return space.genotype_of(path)

    def check(self, space: SearchSpace) -> None:
        """Refuse a space without skip connections to limit, or with choices of another kind.

        Raises:
            ConfigError: The cell is no kind of cell, offers no skip connection, or blocks and inputs are chosen, too.
        """
        name = self._limited(space)
        others = [other for other, choice in space.choices.items() if choice.kind not in ("op", "edge")]
        if others or not space.choices[name].where(SKIP).any():
            reason = f"choices of {' and '.join(others)}" if others else f"no {SKIP} in '{name}'"
            raise ConfigError(f"{self.key}: space={space.name} has {reason}; use selector=magnitude, or another method")

    def _limited(self, space: SearchSpace) -> str:
        """Return the name of the limited choice.

        Raises:
            ConfigError: There is no such kind of cell.
        """
        names = [name for name, choice in space.choices.items() if choice.kind == "op"]
        if self.cell is not None and self.cell not in names:
            raise ConfigError(f"{self.key}.cell={self.cell}: no kind of cell; allowed: {', '.join(names)}, null")
        return self.cell or names[0]


def offered_options(choice: Choice, table: list[list[float]]) -> list[list[int]]:
    """Return the options of each row that a genotype may hold, without dropped ones: their strength is 0."""
    may = (choice.mask & choice.selectable).tolist()
    rows = [[o for o, yes in enumerate(row) if yes] for row in may]
    return [[o for o in row if table[index][o] > 0] or row for index, row in enumerate(rows)]


def edge_weights(choice: Choice, strengths: Mixing) -> list[float]:
    """Return the weight of each edge, [R], ones where edges are not weighted."""
    weights = [1.0] * choice.num_rows
    if edge_key(choice.name) in strengths:
        table = strengths_of(strengths, edge_key(choice.name))
        for node_row, rows in enumerate(choice.rows_of_node.values()):
            for place, row in enumerate(rows):
                weights[row] = table[node_row][place]
    return weights


def selected(
    choice: Choice, table: list[list[float]], offered: list[list[int]], weights: list[float]
) -> dict[int, int]:
    """Return the option of each row that is kept: the best of each edge, and of each node the strongest edges.

    Args:
        choice: The options of the edges.
        table: Strengths [R][O].
        offered: Options of each row that may be selected; a row without one is never kept.
        weights: Weights of the edges, [R].
    """
    # Of equal options and edges the later is kept, as released: those before it are the first to be dropped.
    best = {row: max(options, key=lambda o: (table[row][o], o)) for row, options in enumerate(offered) if options}
    taken: dict[int, int] = {}
    for node, rows in choice.rows_of_node.items():
        order = sorted((r for r in rows if r in best), key=lambda row: weights[row] * table[row][best[row]])
        taken |= {row: best[row] for row in order[-(choice.kept_at(node) or len(order)) :]}
    return dict(sorted(taken.items()))


def limit_skips(
    choice: Choice, table: list[list[float]], offered: list[list[int]], weights: list[float], limit: int
) -> dict[int, int]:
    """Return the option of each row that is kept, with at most `limit` skip connections where that is possible.

    Args:
        choice: The options of the edges.
        table: Strengths [R][O].
        offered: Options of each row that may be selected.
        weights: Weights of the edges, [R].
        limit: Most skip connections.
    """
    table = [list(row) for row in table]
    while True:
        taken = selected(choice, table, offered, weights)
        skips = [row for row, option in taken.items() if choice.options[row][option] == SKIP]
        left = [row for row in skips if table[row][taken[row]] > 0]
        if len(skips) <= limit or not left:
            return taken
        weakest = min(left, key=lambda row: table[row][taken[row]])
        table[weakest][taken[weakest]] = 0.0
