"""Magnitude selection: keep the options with the largest mixing weights (Liu et al., DARTS, ICLR 2019, section 2.4)."""

from nas_lightning.core.choices import Mixing
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace


class Magnitude(Selector):
    """Keeps the strongest option of each edge that a genotype may hold, and of each node the strongest edges by it."""

    def __call__(self, space: SearchSpace, strengths: Mixing) -> Genotype:
        """Return the genotype of the strengths."""
        return space.genotype(strengths)
