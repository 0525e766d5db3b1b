"""Simplex relaxation: the architecture parameters are the mixing weights themselves (Li et al., GAEA, ICLR 2021)."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.placed import placed
from nas_lightning.core.relaxation import Relaxation


class Simplex(Relaxation):
    """Computes mixing = θ, with rows on the simplex: they start uniform, and exponentiated gradients keep them there.

    A search may restrict the options of a row (shrinking, decisions); those that are left are then scaled to sum to 1.

    Source: Li, Khodak, Balcan, Talwalkar, GAEA (ICLR 2021), section 3, and its released code, whose entropic term is
    off in all published configurations.

    Args:
        entropy: Factor λ of the term λ·Σ_rows KL(θ ‖ uniform) of the architecture loss, over choices of operations.
    """

    on_simplex = True

    def __init__(self, entropy: Annotated[float, Field(ge=0)] = 0.0) -> None:
        super().__init__()
        self.entropy = entropy

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """Return equal weights over the options of each row, each [R, O]; forget an earlier restriction."""
        self.remember(choices)
        return {name: choice.uniform() for name, choice in choices.items()}

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return θ by choice, each [R, O]; exactly 0 for options that do not take part."""
        return {name: self._weights(name, theta) for name, theta in arch.items()}

    def mean(self, arch: Tensors) -> Mixing:
        """Return the same weights: nothing is sampled."""
        return self(arch)

    def penalty(self, arch: Tensors) -> Tensor | None:
        """Return the entropic term, a scalar; None where its factor is 0."""
        if self.entropy == 0:
            return None
        terms = []
        for name, choice in self.choices.items():
            if choice.kind == "op":
                weights, kept = self._weights(name, arch[name]), placed(self.kept[name], arch[name].device)
                number = kept.sum(dim=1, keepdim=True).to(weights.dtype)
                terms.append((weights * number.clamp(min=1).log() - torch.special.entr(weights)).sum())
        return self.entropy * torch.stack(terms).sum()

    def _weights(self, name: str, theta: Tensor) -> Tensor:
        if torch.equal(self.kept[name], self.choices[name].mask):
            return theta  # options that a row does not have are 0
        weights = theta * placed(self.kept[name], theta.device)
        total = weights.sum(dim=-1, keepdim=True)
        return weights / total.masked_fill(total == 0, 1)
