"""The strongest architecture under limits of its costs: an exact search where costs and logarithms of strengths add up.

Shapes: R rows and O options of a choice.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from nas_lightning.core.choices import Choice, Mixing, edge_key
from nas_lightning.core.costs import SCALES, CostTable
from nas_lightning.core.space import SearchSpace
from nas_lightning.spaces.cell_genotypes import strengths_of

Edge = tuple[str, int, int]
"""Name of a choice, row, option."""


@dataclass(frozen=True)
class Part:
    """A part of an architecture.

    Args:
        score: Sum of the logarithms of the strengths of its edges.
        costs: Sum of their costs, one number a limit; two at most.
        edges: The edges.
    """

    score: float
    costs: tuple[float, float]
    edges: tuple[Edge, ...] = ()

    def __add__(self, other: "Part") -> "Part":
        costs = (self.costs[0] + other.costs[0], self.costs[1] + other.costs[1])
        return Part(self.score + other.score, costs, self.edges + other.edges)


EMPTY = Part(0.0, (0, 0))


def undominated(parts: Iterable[Part]) -> list[Part]:
    """Return the parts that no other one equals or beats in score and in both costs, best score first."""
    kept: list[Part] = []
    # First costs of the parts so far that are the smallest for their second costs, ascending, the second descending.
    firsts: list[float] = []
    seconds: list[float] = []
    for part in sorted(parts, key=lambda part: (-part.score, part.costs)):
        first, second = part.costs
        place = bisect_left(firsts, first)
        cheapest = place + 1 if place < len(firsts) and firsts[place] == first else place
        if cheapest and seconds[cheapest - 1] <= second:
            continue
        kept.append(part)
        end = place
        while end < len(firsts) and seconds[end] >= second:
            end += 1
        firsts[place:end], seconds[place:end] = [first], [second]
    return kept


def combined(groups: Sequence[Sequence[Part]], limits: tuple[float, float]) -> list[Part]:
    """Return the undominated sums of one part of each group within the limits, best score first.

    Exact: what is dropped is beaten by what stays whatever follows, or too expensive whatever follows (Nemhauser and
    Ullmann, Management Science 1969).
    """
    least = [tuple(min(part.costs[kind] for part in group) for kind in (0, 1)) for group in groups]
    left = [sum(costs[kind] for costs in least) for kind in (0, 1)]
    found = [EMPTY]
    for group, costs in zip(groups, least, strict=True):
        left = [left[kind] - costs[kind] for kind in (0, 1)]
        sums = (one + other for one in found for other in group)
        found = undominated(
            part for part in sums if all(part.costs[kind] + left[kind] <= limits[kind] for kind in (0, 1))
        )
    return found


def alternatives(space: SearchSpace, strengths: Mixing, tables: Sequence[CostTable]) -> list[list[Part]]:
    """Return the independent decisions of an architecture, each as its undominated alternatives.

    A node that keeps fewer edges than can enter it decides its edges and their options jointly; elsewhere every edge is
    decided by itself. What has no strength is left out where something else has.

    Args:
        space: A space whose costs add up.
        strengths: Strengths of the options by choice, each [R, O], and of weighted edges.
        tables: Costs, two at most.

    Raises:
        GenotypeError: A strength is not a number.
    """
    groups: list[list[Part]] = []
    for name, choice in space.choices.items():
        if choice.kind != "op":
            continue
        rows = _parts_of_rows(choice, strengths, [table.options[name].tolist() for table in tables])
        for of_node in choice.rows_of_node.values():
            eligible = [row for row in of_node if rows[row]]
            keep = min(choice.kept_at(choice.nodes[of_node[0]]) or len(eligible), len(eligible))
            if keep == len(eligible):
                groups += [rows[row] for row in eligible]
                continue
            subsets = (combined([rows[row] for row in subset], UNLIMITED) for subset in combinations(eligible, keep))
            groups.append(undominated(part for subset in subsets for part in subset))
    return groups


UNLIMITED = (math.inf, math.inf)


def _parts_of_rows(choice: Choice, strengths: Mixing, costs: Sequence[list[list[float]]]) -> dict[int, list[Part]]:
    """Return the undominated options of each row; none for a row of which nothing has any strength."""
    table = strengths_of(strengths, choice.name)
    key = edge_key(choice.name)
    weights = dict.fromkeys(range(choice.num_rows), 1.0)
    if key in strengths:
        of_edges = strengths_of(strengths, key)
        for node_row, rows in enumerate(choice.rows_of_node.values()):
            weights |= {row: of_edges[node_row][place] for place, row in enumerate(rows)}
    may = (choice.mask & choice.selectable).tolist()
    parts: dict[int, list[Part]] = {}
    for row, options in enumerate(may):
        found = []
        for option, yes in enumerate(options):
            strength = table[row][option] * weights[row]
            if yes and strength > 0:
                priced = _pair([cost[row][option] for cost in costs], 0.0)
                found.append(Part(math.log(strength), priced, ((choice.name, row, option),)))
        parts[row] = undominated(found)
    return parts


@dataclass(frozen=True)
class Limit:
    """A limit of a cost.

    Args:
        table: Costs of the options.
        most: Largest cost of a network, in the unit of the configuration.
    """

    table: CostTable
    most: float

    @property
    def bound(self) -> float:
        """The limit in single operations or parameters, with room for the rounding of a number in millions."""
        return self.most * SCALES[self.table.name] + 1e-3

    def allows(self, path: Mixing) -> bool:
        """Return whether the network of a path keeps to the limit."""
        return self.table.of_path(path) <= self.bound


def strongest_within(space: SearchSpace, strengths: Mixing, limits: Sequence[Limit]) -> Mixing | None:
    """Return the path with the largest product of strengths whose network keeps to the limits; None without any.

    Without limits it is what magnitude selects: the strongest option of each edge, the strongest edges of each node. Of
    equally strong architectures a cheaper one is taken.

    Args:
        space: A space whose costs add up.
        strengths: Strengths of the options by choice, each [R, O], and of weighted edges.
        limits: Two at most.

    Raises:
        GenotypeError: A strength is not a number.
    """
    groups = alternatives(space, strengths, [limit.table for limit in limits])
    most = [limit.bound - limit.table.fixed for limit in limits]
    found = combined(groups, _pair(most, math.inf))
    if not found:
        return None
    path: Mixing = {
        name: torch.zeros(choice.num_rows, choice.num_options)
        if choice.kind == "op"
        else strengths[name].detach().cpu()
        for name, choice in space.choices.items()
    }
    for name, row, option in found[0].edges:
        path[name][row, option] = 1.0
    return path


def smallest(space: SearchSpace, strengths: Mixing, table: CostTable) -> float:
    """Return the least cost of a network with options of any strength, in the unit of the configuration."""
    groups = alternatives(space, strengths, [table])
    return table.in_unit(table.fixed + sum(min(part.costs[0] for part in group) for group in groups))


def _pair(values: Sequence[float], rest: float) -> tuple[float, float]:
    """Return one or two numbers as two."""
    return values[0], values[1] if len(values) > 1 else rest
