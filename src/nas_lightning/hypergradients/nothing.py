"""No hypergradient: the architecture parameters stay as they are (random search, Li & Talwalkar, UAI 2019)."""

import torch
from torch import Tensor

from nas_lightning.core.protocols import InnerStep, Loss, Reduce, Tensors


class Nothing:
    """There is no architecture step: only the weights train."""

    second_order = False
    learns = False

    def __call__(
        self,
        train_loss: Loss,
        arch_loss: Loss,
        weights: Tensors,
        arch: Tensors,
        inner_step: InnerStep,
        reduce: Reduce,
    ) -> tuple[Tensors, Tensor]:
        """Zeros by the names of `arch`, and a loss of zero; neither loss is evaluated."""
        found = {name: torch.zeros_like(value) for name, value in arch.items()}
        return found, torch.zeros((), device=next(iter(arch.values())).device)
