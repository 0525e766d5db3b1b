"""Beta-Decay: keep the activated mixing weights from growing apart (β-DARTS)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Mixing
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.placed import placed
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import SearchSpace
from nas_lightning.regularizers.drop_path import known_epochs


class BetaDecay(Regularizer):
    """Adds λ(e)·(1/R)·Σ_rows log Σ_o exp(α_o) to the architecture loss, over all R rows of all choices of operations.

    Its gradient is λ·softmax(α)/R: the larger a mixing weight, the more it is pushed down, so a plain gradient step of
    length η multiplies the ratio of two weights of a row by exp(−ηλ(β_k − β_j)/R). The weight decay of α, which stays
    on, pulls towards 0 instead and is indifferent to which weight is large. λ(e) = strength·e/E grows from 0.

    Source: Ye et al., β-DARTS (CVPR 2022), and its released code, where λ = 50·e/100 whatever the length of the search:
    49.5 in the last of 100 epochs, 24.5 in the last of 50. With two kinds of cells, of which the publication says
    nothing, the mean is that of all rows of both. Dropped options are left out; a removed row adds nothing.

    Args:
        strength: λ that epoch E would reach.
        epochs: Epochs E of the slope; None is those of the search.

    Attributes:
        coefficient: λ of the current epoch.
    """

    key = "regularizer.beta_decay"
    adjustable: ClassVar[dict[str, float]] = {"strength": math.inf}

    def __init__(
        self,
        strength: Annotated[float, Field(ge=0)] = 50.0,
        epochs: Annotated[int, Field(ge=1)] | None = 100,
    ) -> None:
        self.strength = strength
        self.epochs = epochs
        self.coefficient = 0.0
        self._names: list[str] = []

    def build(self, space: SearchSpace) -> SearchSpace:
        """Remember the choices of operations; return the same space."""
        self._names = [name for name, choice in space.choices.items() if choice.kind == "op"]
        return space

    def check(self, module: Any) -> None:
        """Refuse a search without logits, or one that does not learn them.

        Raises:
            ConfigError: The mixing weights are no softmax of what is learned, or no architecture is learned.
        """
        relaxation, hypergradient = type(module.relaxation).__name__, type(module.hypergradient).__name__
        if not module.hypergradient.learns:
            raise ConfigError(
                f"{self.key}: hypergradient {hypergradient} learns no architecture, so there is nothing to decay; use"
                f" hypergradient=first_order or ~{self.key}"
            )
        if not module.relaxation.logits:
            raise ConfigError(
                f"{self.key}: mixing weights of relaxation {relaxation} are no softmax of its parameters; use"
                f" relaxation=softmax or ~{self.key}"
            )

    def at_epoch(self, search_epoch: int) -> None:
        """Follow the schedule.

        Raises:
            ConfigError: `epochs` is None.
        """
        self.coefficient = self.strength * search_epoch / known_epochs(self.epochs, self.key)

    def penalty(self, arch: Tensors, mixing: Mixing, kept: Mapping[str, Tensor]) -> Tensor | None:
        """Return the decay of the logits `arch`, each [R, O], a scalar; None while λ is 0."""
        if self.coefficient == 0:
            return None
        terms = torch.cat([_log_sums(arch[name], kept[name]) for name in self._names])
        return self.coefficient * terms.mean()

    def metrics(self) -> dict[str, float]:
        """Return λ of the epoch."""
        return {"beta_decay": self.coefficient}


def _log_sums(logits: Tensor, kept: Tensor) -> Tensor:
    """Return log Σ_o exp(logits) over the kept options of each row, [R]; 0 for a row that keeps none."""
    if kept.all():
        return torch.logsumexp(logits, dim=1)
    present = kept.any(dim=1, keepdim=True)
    # Without an option the sum would be empty and its gradient NaN: such a row is summed in full, then left out.
    closed = placed(~kept & present, logits.device)
    return torch.logsumexp(logits.masked_fill(closed, -torch.inf), dim=1) * placed(present[:, 0], logits.device)
