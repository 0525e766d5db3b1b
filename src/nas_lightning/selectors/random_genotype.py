"""A random genotype: the candidate of a random search in which each is trained by itself, without a supernet."""

from typing import Annotated

from pydantic import Field

from nas_lightning.core import draws
from nas_lightning.core.choices import Mixing
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import OneShot
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace


class RandomGenotype(Selector):
    """Draws uniformly and ignores whatever was learnt; candidates 0, 1, … of a seed are compared by retraining.

    Args:
        index: Which candidate of the seed.
        none: Whether the operation `none` is drawn like any other.
    """

    needs_supernet = False

    def __init__(self, index: Annotated[int, Field(ge=0)] = 0, none: bool = False) -> None:
        self.index = index
        self.none = none

    def __call__(self, space: SearchSpace, strengths: Mixing) -> None:
        """None: the architecture parameters do not tell."""
        return

    def select(self, one_shot: OneShot) -> Genotype:
        """The candidate that belongs to (seed, index)."""
        rng = draws.seeded_generator(one_shot.seed, "random genotype", self.index)
        return one_shot.space.genotype_of(one_shot.space.sample(rng, self.none))
