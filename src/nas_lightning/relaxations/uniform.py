"""Uniform sampling: every pass trains a new random path (Li & Talwalkar, UAI 2019: weight sharing)."""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Choice, Mixing
from nas_lightning.core.relaxation import Relaxation
from nas_lightning.spaces.sampling import sample_path


class Uniform(Relaxation):
    """Samples a path of zeros and ones uniformly: per node as many edges as a genotype keeps, one operation each.

    The architecture parameters are zeros (equal strengths) and get no gradient. Only the sampled operations are
    computed. The released code computes the others too and multiplies them by zero; here their batch statistics do not
    change, and their weights have no gradient, so SGD leaves them unchanged; in the released code weight decay and
    momentum keep changing them.

    Args:
        none: Sample the operation `none` like any other, as in the released code for images.
    """

    def __init__(self, none: bool = True) -> None:
        super().__init__()
        self.none = none

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """Return zeros by choice, each [R, O]; forget an earlier restriction."""
        self.remember(choices)
        return {name: torch.zeros(choice.num_rows, choice.num_options) for name, choice in choices.items()}

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return a path by choice, each [R, O], without gradient; see `sample_path`. Weights of edges are equal.

        Of inputs and outputs, as many are drawn as a row takes. Only options that take part are sampled, and only rows
        that have one.
        """
        return _like(arch, sample_path(self.choices, generator, self.none, self.kept))

    def active(self, mixing: Mixing) -> Active | None:
        """Return the options with a weight, each boolean [R, O]; None where these are all, as with `mean`."""
        # Not `> 0`: NaN counts as active, so that it reaches the loss.
        active = {name: ~(mixing[name] <= 0) for name in self.choices}
        every = all(torch.equal(active[name].cpu(), kept) for name, kept in self.kept.items())
        return None if every else active

    def mean(self, arch: Tensors) -> Mixing:
        """Return equal weights over the options of each row, each [R, O]: the whole supernet, `none` included."""
        return _like(arch, {name: choice.uniform(self.kept[name]) for name, choice in self.choices.items()})


def _like(arch: Tensors, mixing: Mapping[str, Tensor]) -> Mixing:
    """Convert the mixing weights to the types and devices of `arch`."""
    return {name: mixing[name].to(value) for name, value in arch.items()}
