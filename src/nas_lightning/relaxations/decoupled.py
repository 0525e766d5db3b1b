"""One relaxation for the weights, another one for the architecture (SETN)."""

from collections.abc import Mapping

from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Choice, Mixing
from nas_lightning.core.relaxation import Relaxation


class Decoupled(Relaxation):
    """The weight step sees the mixing weights of one relaxation, everything else those of another.

    Both read the same architecture parameters, which are those of `arch`. In SETN the weights learn on a uniformly
    drawn path, which no preference for early winners can bias, and the architecture on the softmax of all options.
    Source: Dong & Yang, SETN (ICCV 2019), and its released code for NAS-Bench-201.
    Left out: an `arch` that gives zeros to options which are to be computed all the same, beside `weights` that draws
    paths: who gave the mixing weights is not known to `active`, and there zeros mean "not computed".

    Args:
        weights: Relaxation of the weight step.
        arch: Relaxation of the architecture step, of validation, curvature and selection.
    """

    def __init__(self, weights: Relaxation, arch: Relaxation) -> None:
        super().__init__()
        self.weights = weights
        self.arch = arch
        self.none = weights.none
        self.simplex = weights.simplex and arch.simplex

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """The architecture parameters of `arch`, each [R, O]."""
        parameters = self.arch.init(choices, generator)
        self.weights.init(choices, generator)  # for the choices' sake
        return parameters

    def restrict(self, kept: Mapping[str, Tensor]) -> None:
        """Let only these options take part in either; boolean [R, O] by choice."""
        self.weights.restrict(kept)
        self.arch.restrict(kept)

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Mixing weights of `arch`, each [R, O]."""
        return self.arch(arch, epoch, generator)

    def in_weight_step(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Mixing weights of `weights`, each [R, O]."""
        return self.weights(arch, epoch, generator)

    def active(self, mixing: Mixing) -> Active | None:
        """What either would compute of these mixing weights, each boolean [R, O]; None for all.

        Dense weights leave nothing out for either, those of a drawn path do for the one that draws paths.
        """
        active = self.weights.active(mixing)
        return self.arch.active(mixing) if active is None else active

    def mean(self, arch: Tensors) -> Mixing:
        """The mean of `arch`, each [R, O]."""
        return self.arch.mean(arch)

    def penalty(self, arch: Tensors) -> Tensor | None:
        """The penalty of `arch`."""
        return self.arch.penalty(arch)
