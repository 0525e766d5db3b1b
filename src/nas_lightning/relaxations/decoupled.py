"""Decoupled relaxation: one for the weight step, another one for everything else (SETN)."""

from collections.abc import Mapping

from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Choice, Mixing
from nas_lightning.core.relaxation import Relaxation


class Decoupled(Relaxation):
    """Uses the mixing weights of one relaxation in the weight step, those of another everywhere else.

    Both read the same architecture parameters, which are those of `arch`. In SETN the weights learn on uniformly
    sampled paths, which early winners cannot bias, and the architecture on the softmax of all options.
    Source: Dong & Yang, SETN (ICCV 2019), and its released code for NAS-Bench-201.
    Left out: an `arch` with zeros for options that are computed nevertheless, next to `weights` that sample paths:
    `active` does not know which of the two made the mixing weights, and reads zeros as "not computed".

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
        self.logits = arch.logits
        self.on_simplex = arch.on_simplex

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """Return the architecture parameters of `arch`, each [R, O]."""
        parameters = self.arch.init(choices, generator)
        self.weights.init(choices, generator)  # its parameters are unused, but it remembers the choices
        return parameters

    def restrict(self, kept: Mapping[str, Tensor]) -> None:
        """Restrict both to these options, boolean [R, O] by choice."""
        self.weights.restrict(kept)
        self.arch.restrict(kept)

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return the mixing weights of `arch`, each [R, O]."""
        return self.arch(arch, epoch, generator)

    def in_weight_step(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return the mixing weights of `weights`, each [R, O]."""
        return self.weights(arch, epoch, generator)

    def active(self, mixing: Mixing) -> Active | None:
        """Return the options that are computed, each boolean [R, O]; None for all.

        Dense mixing weights give None for both relaxations; a sampled path is recognised by the one that samples paths.
        """
        active = self.weights.active(mixing)
        return self.arch.active(mixing) if active is None else active

    def after_step(self, before: Mapping[str, Tensor], arch: Tensors) -> None:
        """Let `arch` change the architecture parameters after a step."""
        self.arch.after_step(before, arch)

    def mean(self, arch: Tensors) -> Mixing:
        """Return the mean of `arch`, each [R, O]."""
        return self.arch.mean(arch)

    def penalty(self, arch: Tensors) -> Tensor | None:
        """Return the penalty of `arch`, a scalar or None."""
        return self.arch.penalty(arch)
