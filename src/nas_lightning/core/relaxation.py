"""The contract of relaxations, which map architecture parameters to mixing weights.

Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Choice, Mixing
from nas_lightning.core.part import Part
from nas_lightning.core.placed import placed


class Relaxation(Part):
    """Map from architecture parameters to mixing weights, with the options that take part.

    A relaxation implements `init`, `__call__` and `mean`; everything else is neutral. `init` calls `remember`; `mask`
    then returns the options of a row that exist and are still open, and every other option weighs exactly 0.

    Attributes:
        simplex: The mixing weights of each row of operations sum to 1. Parts that renormalise rows, such as SDARTS'
            perturbations, are refused where they do not.
        on_simplex: The architecture parameters themselves are weights on the simplex, and 0 where a row has no option.
            Only exponentiated gradients keep them there.
        none: Drawn paths may hold the operation `none`.
        logits: The mean is the softmax of the architecture parameters over the options that take part.
        choices: The choices that `init` was given.
        kept: Boolean [R, O] by choice, on the CPU: the options that take part.
    """

    key = "relaxation"
    simplex: bool = True
    on_simplex: bool = False
    none: bool = True
    logits: bool = False

    def __init__(self) -> None:
        self.choices: dict[str, Choice] = {}
        self.kept: dict[str, Tensor] = {}
        self._placed: dict[tuple[str, torch.device], Tensor | None] = {}  # masks by device

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """Return fresh architecture parameters by choice, each [R, O]; an earlier restriction is forgotten."""
        raise NotImplementedError

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return mixing weights; draw samples from `generator`, follow temperatures by the search epoch."""
        raise NotImplementedError

    def mean(self, arch: Tensors) -> Mixing:
        """Return deterministic mixing weights for selection, validation, curvature and landscape."""
        raise NotImplementedError

    def in_weight_step(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return the mixing weights of the weight step, by default those of every step."""
        return self(arch, epoch, generator)

    def strengths(self, arch: Tensors) -> Mixing:
        """Return the strengths that genotypes are derived from, each [R, O]; by default the mean."""
        return self.mean(arch)

    def active(self, mixing: Mixing) -> Active | None:
        """Return the options to compute, boolean [R, O] by choice; None for all. Hard relaxations sample them."""
        return None

    def penalty(self, arch: Tensors) -> Tensor | None:
        """Return a term added to the architecture loss, or None."""
        return None

    def after_step(self, before: Mapping[str, Tensor], arch: Tensors) -> None:
        """Change the architecture parameters in place after each step of their optimizer, without gradients.

        Args:
            before: Their values before the step by choice, each [R, O].
            arch: The parameters, as the step left them.
        """

    def metrics(self, epoch: int) -> dict[str, float]:
        """Return further columns of metrics.csv and their values, such as a temperature."""
        return {}

    # Options that take part --------------------------------------------------------------------------------------

    def remember(self, choices: Mapping[str, Choice]) -> None:
        """Start with these choices, unrestricted."""
        self.choices = dict(choices)
        self.restrict({})

    def restrict(self, kept: Mapping[str, Tensor]) -> None:
        """Restrict the relaxation to these options, in place of an earlier restriction.

        The others weigh exactly 0. On the simplex the kept ones of a row sum to 1; a row of which nothing is kept is
        all zeros.

        Args:
            kept: Boolean [R, O] by choice; options that a row does not have stay out, and choices that are not named
                are unrestricted.
        """
        self.kept = {
            name: choice.mask & kept[name].cpu() if name in kept else choice.mask
            for name, choice in self.choices.items()
        }
        self._placed = {}

    def mask(self, name: str, device: torch.device) -> Tensor | None:
        """Return the options of a choice that take part, boolean [R, O] on a device; None where all do."""
        if (name, device) not in self._placed:
            kept = self.kept.get(name)  # None without `init`, which sets the choices
            self._placed[name, device] = None if kept is None or kept.all() else placed(kept, device)
        return self._placed[name, device]
