"""No hypergradient: the architecture parameters do not change (random search, Li & Talwalkar, UAI 2019)."""

import torch
from torch import Tensor

from nas_lightning.core.bilevel import Bilevel, Hypergradient, Tensors


class Nothing(Hypergradient):
    """Skips the architecture step: only the weights train."""

    learns = False

    def __call__(self, problem: Bilevel) -> tuple[Tensors, Tensor]:
        """Return zeros by the names of `arch`, each [R, O], and a loss of zero; no loss is evaluated."""
        found = {name: torch.zeros_like(value) for name, value in problem.arch.items()}
        return found, torch.zeros((), device=next(iter(problem.arch.values())).device)
