"""Exponentiated gradient: multiplicative steps that stay on the simplex (Kivinen & Warmuth 1997; GAEA, ICLR 2021).

Shapes: R rows and O options of a choice.
"""

import math
from typing import Any

import torch

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.placed import placed
from nas_lightning.relaxations.masks import masked_softmax

FLOOR = 1e-5
"""Least weight of an operation before its row is scaled to sum to 1, as released; edges have none there."""


class ExponentiatedGradient(torch.optim.Optimizer):
    """Steps θ ← max(θ ⊙ exp(−η·∇_θ L), 1e-5), scaled to sum to 1 over the open options of each row.

    That is the gradient step α − η·∇_θ L of logits α = log θ, along the gradient with respect to θ, not to α.

    Weights of 0, of options that a row does not have, stay 0. Options that decisions have closed keep their values; the
    open ones of their rows are scaled to sum to 1, as the relaxation scales them, and step along the gradient with
    respect to these weights.

    Source: Li et al., GAEA (ICLR 2021), algorithm 1, and its released code.
    Left out: its option to divide η by the largest gradient, which no published configuration uses.

    Args:
        arch: θ by choice, each [R, O].
        lr: Step size η.
        decisions: What is decided at each step.
    """

    def __init__(self, arch: Tensors, lr: float, decisions: Decisions) -> None:
        self._arch = arch
        self._decisions = decisions
        super().__init__(list(arch.values()), {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step along the gradients that the tables hold."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        lr = self.param_groups[0]["lr"]
        opened = {} if self._decisions.open else self._decisions.restriction
        for name, theta in self._arch.items():
            if theta.grad is None:
                continue
            kept = theta > 0
            if name in opened:
                kept &= placed(opened[name], theta.device)
            total = (theta * kept).sum(dim=-1, keepdim=True)
            total = total.masked_fill(total == 0, 1)
            # In logarithms: exp(−η·∇) overflows for a steep loss, the softmax of the same does not.
            logits = (theta / total).log() - lr * total * theta.grad
            if name in self._decisions.choices:
                logits = logits.clamp(min=math.log(FLOOR))
            stepped = masked_softmax(logits, kept)
            theta.copy_(torch.where(kept, stepped, theta))
        return loss
