"""No hypergradient: the architecture parameters stay as they are (random search, Li & Talwalkar, UAI 2019)."""

import torch
from torch import Tensor

from nas_lightning.core.bilevel import Bilevel, Hypergradient, Tensors


class Nothing(Hypergradient):
    """There is no architecture step: only the weights train."""

    learns = False

    def __call__(self, problem: Bilevel) -> tuple[Tensors, Tensor]:
        """Zeros by the names of `arch`, and a loss of zero; neither loss is evaluated."""
        found = {name: torch.zeros_like(value) for name, value in problem.arch.items()}
        return found, torch.zeros((), device=next(iter(problem.arch.values())).device)
