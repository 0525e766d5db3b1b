"""Magnitude selection: the options with the largest mixing weights (Liu et al., DARTS, ICLR 2019, section 2.4)."""

from nas_lightning.protocols import OneShot, Relaxation, SearchSpace, Tensors
from nas_lightning.spaces.genotypes import Genotype


class Magnitude:
    """Of each edge the best option but `none`; of each node the strongest edges by that option."""

    def __call__(self, space: SearchSpace, relaxation: Relaxation, arch: Tensors) -> Genotype:
        """The genotype of the relaxation's mean."""
        return space.genotype(relaxation.mean(arch))

    def select(self, one_shot: OneShot) -> Genotype:
        """The same genotype: nothing is measured."""
        return self(one_shot.space, one_shot.relaxation, one_shot.arch)
