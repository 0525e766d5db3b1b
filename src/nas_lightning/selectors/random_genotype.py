"""Random genotype: a candidate of random search without a supernet, in which each is trained separately."""

from typing import Annotated

from pydantic import Field

from nas_lightning.core import draws
from nas_lightning.core.choices import Mixing
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import OneShot
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace


class RandomGenotype(Selector):
    """Samples a genotype uniformly, whatever was learnt; candidates 0, 1, … of a seed are compared by retraining.

    Args:
        index: Index of the candidate within the seed.
        none: Sample the operation `none` like any other.
    """

    needs_supernet = False

    def __init__(self, index: Annotated[int, Field(ge=0)] = 0, none: bool = False) -> None:
        self.index = index
        self.none = none

    def __call__(self, space: SearchSpace, strengths: Mixing) -> None:
        """Return None: the strengths determine no genotype."""
        return

    def select(self, one_shot: OneShot) -> Genotype:
        """Return the genotype of candidate (seed, index)."""
        rng = draws.seeded_generator(one_shot.seed, "random genotype", self.index)
        return one_shot.space.genotype_of(one_shot.space.sample(rng, self.none))
