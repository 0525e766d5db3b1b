"""Uniform sampling: every pass trains one path, drawn anew (Li & Talwalkar, UAI 2019: weight sharing)."""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Choice, Mixing
from nas_lightning.core.relaxation import Relaxation
from nas_lightning.spaces.sampling import sample_path


class Uniform(Relaxation):
    """mixing = a uniformly drawn path of zeros and ones: per node as many edges as a genotype keeps, an option each.

    There is nothing to learn: the architecture parameters are zeros, that is equal strengths, and get no gradient.
    Only the drawn operations are computed. The released code computes the others too and weighs them by zero; here
    their batch statistics stay as they are, and weights that were not drawn have no gradient, so that SGD leaves them
    alone, where the released code lets them decay and drift on with their momentum.

    Args:
        none: Whether the operation `none` is drawn like any other, as in the released code for images.
    """

    def __init__(self, none: bool = True) -> None:
        super().__init__()
        self.none = none

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """Zeros by choice, each [R, O]; an earlier restriction is forgotten."""
        self.remember(choices)
        return {name: torch.zeros(choice.num_rows, choice.num_options) for name, choice in choices.items()}

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """A path by choice, each [R, O], without gradient; choices of another kind than `op` get equal weights.

        Only options that take part are drawn, and only rows that have one.
        """
        return _like(arch, sample_path(self.choices, generator, self.none, self.kept))

    def active(self, mixing: Mixing) -> Active | None:
        """What has a weight, each boolean [R, O]; None where that is every option there is, as with `mean`."""
        active = {name: ~(mixing[name] <= 0) for name in self.choices}  # what is no number is shown, not left out
        every = all(torch.equal(active[name].cpu(), kept) for name, kept in self.kept.items())
        return None if every else active

    def mean(self, arch: Tensors) -> Mixing:
        """Equal weights over the options of each row, each [R, O]: all of the supernet at once, `none` included."""
        return _like(arch, {name: choice.uniform(self.kept[name]) for name, choice in self.choices.items()})


def _like(arch: Tensors, mixing: Mapping[str, Tensor]) -> Mixing:
    """The mixing weights in the types and on the devices of `arch`."""
    return {name: mixing[name].to(value) for name, value in arch.items()}
