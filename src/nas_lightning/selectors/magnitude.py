"""Magnitude selection: the options with the largest mixing weights (Liu et al., DARTS, ICLR 2019, section 2.4)."""

from nas_lightning.core.choices import Mixing
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace


class Magnitude(Selector):
    """Of each edge the best option that a genotype may hold; of each node the strongest edges by that option."""

    def __call__(self, space: SearchSpace, strengths: Mixing) -> Genotype:
        """The genotype of the mean mixing weights."""
        return space.genotype(strengths)
