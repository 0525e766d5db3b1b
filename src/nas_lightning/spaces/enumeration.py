"""Number the architectures of a space from 0 on: for spaces that are small enough to train them all.

The order is that of an odometer. Its wheels are the nodes, cell type by cell type in the order of `space.choices`
(`normal`, then `reduce`) and node by node; the last one turns fastest. The positions of a wheel are the ways to feed
the node: the subsets of `keep` edges in lexicographic order of their rows, and for each of these the operations, the
last edge's turning fastest, in the order of the options; `none` is left out where a genotype cannot hold it. A row of
inputs or outputs is a wheel, too: its positions are the subsets of as many options as it takes, in lexicographic order.
In S5 (RobustDARTS, ICLR 2020, section 4) number 0 is sep_conv_3x3 everywhere and number 80 max_pool_3x3 everywhere.
Where a benchmark has numbered the architectures of a space, its numbers count instead: `space.numbering`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from math import prod

import torch

from nas_lightning.core.choices import Choice
from nas_lightning.core.draws import seeded_generator
from nas_lightning.core.errors import GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import SearchSpace

Feeding = tuple[tuple[int, int], ...]
"""A way to feed a node: (row, option) of each edge that is kept, in the order of the rows."""


def _feedings(choice: Choice, node: int, rows: list[int]) -> list[Feeding]:
    """Return the positions of the wheel of a node."""
    options = {row: choice.selectable[row].nonzero().flatten().tolist() for row in rows}
    offering = [row for row in rows if options[row]]  # an edge without operations is never kept
    keep = min(choice.kept_at(node) or len(offering), len(offering))
    return [
        tuple(zip(kept, taken, strict=True))
        for kept in combinations(offering, keep)
        for taken in product(*(options[row] for row in kept))
    ]


def _subsets(choice: Choice, row: int) -> list[Feeding]:
    """Return the positions of the wheel of a row of inputs or outputs."""
    options = range(len(choice.options[row]))
    return [tuple((row, option) for option in taken) for taken in combinations(options, choice.taken[row])]


@dataclass(frozen=True)
class _Wheel:
    """A choice, the rows that turn together, and their positions."""

    choice: Choice
    rows: list[int]
    feedings: list[Feeding]


def _wheels(space: SearchSpace) -> list[_Wheel]:
    """Return the wheels, the slowest first."""
    wheels: list[_Wheel] = []
    for choice in space.choices.values():
        if choice.kind == "op":
            wheels += [
                _Wheel(choice, rows, _feedings(choice, node, rows)) for node, rows in choice.rows_of_node.items()
            ]
        elif choice.kind != "edge":
            wheels += [_Wheel(choice, [row], _subsets(choice, row)) for row in range(choice.num_rows)]
    return wheels


def count(space: SearchSpace) -> int:
    """Count the architectures of a space."""
    return prod(len(wheel.feedings) for wheel in _wheels(space))


def architecture(space: SearchSpace, number: int) -> Genotype:
    """Return the architecture of a number; the edges of each node are in the order of their sources.

    Raises:
        GenotypeError: There is no such number.
    """
    wheels = _wheels(space)
    order = space.numbering()
    total = prod(len(wheel.feedings) for wheel in wheels)
    if not 0 <= number < total:
        raise GenotypeError(
            f"genotype={number}: space={space.name} has {total:,} architectures; give a number from 0 to {total - 1}"
        )
    return _turned(space, wheels, number if order is None else order[number])


def _turned(space: SearchSpace, wheels: list[_Wheel], place: int) -> Genotype:
    """Return the architecture at a place in the order of the odometer."""
    path = {name: torch.zeros(c.num_rows, c.num_options) for name, c in space.choices.items() if c.kind != "edge"}
    for wheel in reversed(wheels):
        place, position = divmod(place, len(wheel.feedings))
        for row, option in wheel.feedings[position]:
            path[wheel.choice.name][row, option] = 1.0
    return space.genotype_of(path)


def architectures(space: SearchSpace) -> Iterator[Genotype]:
    """Iterate over all architectures, in order."""
    wheels, order = _wheels(space), space.numbering()
    places = range(prod(len(wheel.feedings) for wheel in wheels)) if order is None else order
    return (_turned(space, wheels, place) for place in places)


def number_of(space: SearchSpace, genotype: Genotype) -> int:
    """Return the number of an architecture, whatever the order of its edges.

    Raises:
        GenotypeError: It is not of this space, or a node of it keeps another number of edges than the space's.
    """
    number, path = 0, space.path_of(genotype)
    for wheel in _wheels(space):
        choice = wheel.choice
        feeding = tuple((row, o) for row in wheel.rows for o in path[choice.name][row].nonzero().flatten().tolist())
        if feeding not in wheel.feedings:
            raise GenotypeError(
                f"genotype of space '{space.name}' has no number: node {choice.nodes[wheel.rows[0]]} of the"
                f" {choice.name} cell is fed by {', '.join(choice.options[row][o] for row, o in feeding)}, which no"
                " search in this space ends with"
            )
        number = number * len(wheel.feedings) + wheel.feedings.index(feeding)
    order = space.numbering()
    return number if order is None else order.index(number)


def random_genotype(space: SearchSpace, seed: int) -> Genotype:
    """Draw a genotype of uniform random strengths: the baseline that a search has to beat."""
    rng = seeded_generator(seed, "random genotype")
    return space.genotype(
        {name: torch.rand(choice.num_rows, choice.num_options, generator=rng) for name, choice in space.choices.items()}
    )
