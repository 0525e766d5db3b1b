"""Random genotypes that are not among the candidates yet: the beginning of every proposer."""

from collections.abc import Iterator

import torch

from nas_lightning.core import draws
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import SearchSpace
from nas_lightning.spaces.enumeration import architectures

PATIENCE = 300
"""Known genotypes drawn in a row before the unknown ones are listed: so many come up only where few are left."""


def holds_none(space: SearchSpace) -> bool:
    """Return whether genotypes of a space may hold the operation `none`, as on NAS-Bench-201."""
    return any(choice.none_selectable for choice in space.choices.values())


def unseen(space: SearchSpace, seen: set[str], seed: int, first: int, none: bool | None = None) -> Iterator[Genotype]:
    """Yield different genotypes that are not in `seen`, uniformly, until the space has no others.

    Draw number i of a seed is candidate i of `selector=random_genotype`.

    Args:
        space: The search space.
        seen: Identities that are left out; those that are yielded are added.
        seed: Seed of the draws.
        first: Number of the first draw.
        none: Draw the operation `none` like any other; None: where a genotype of the space may hold it.
    """
    none = holds_none(space) if none is None else none
    number, failures = first, 0
    while failures < PATIENCE:
        drawn = space.genotype_of(space.sample(draws.seeded_generator(seed, "random genotype", number), none))
        number, failures = number + 1, failures + 1
        if drawn.identity not in seen:
            failures = 0
            seen.add(drawn.identity)
            yield drawn
    left = [one for one in architectures(space) if one.identity not in seen and (none or not _uses_none(space, one))]
    order = torch.randperm(len(left), generator=draws.seeded_generator(seed, "unseen genotypes", first)).tolist()
    for place in order:
        if left[place].identity not in seen:  # others may have been added meanwhile
            seen.add(left[place].identity)
            yield left[place]


def _uses_none(space: SearchSpace, genotype: Genotype) -> bool:
    path = space.path_of(genotype)
    return any(bool((path[name] * choice.where("none")).any()) for name, choice in space.choices.items())
