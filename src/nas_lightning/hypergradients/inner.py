"""Inner step of the unrolled objective, and gradients of losses that may not use every tensor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.functional import without_autocast


@dataclass(frozen=True)
class SGDStep:
    """Computes one step of SGD as a function: w' = w − lr·(momentum·buffer + g + weight_decay·w), or Nesterov's.

    The released DARTS code unrolls the same: momentum buffer and weight decay enter, clipping does not.

    Args:
        lr: Learning rate of the step (ξ).
        momentum: Factor on the buffers.
        weight_decay: L2 coefficient.
        buffers: Momentum buffers in the order of the weights; None before the first step.
        nesterov: Step along g + momentum·(new buffer), as torch's SGD does.
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    buffers: Sequence[Tensor | None] | None = None
    nesterov: bool = False

    def plain(self) -> "SGDStep":
        """Return the same step with plain momentum."""
        return replace(self, nesterov=False)

    def __call__(self, weights: Tensors, gradients: list[Tensor]) -> Tensors:
        """Return the weights after the step, by the same names; differentiable in weights and gradients."""
        values = list(weights.values())
        decayed = list(torch._foreach_add(gradients, values, alpha=self.weight_decay))
        direction = decayed
        if self.buffers is not None:
            direction = [
                d if buffer is None else d + self.momentum * buffer
                for d, buffer in zip(decayed, self.buffers, strict=True)
            ]
        if self.nesterov:
            direction = list(torch._foreach_add(decayed, direction, alpha=self.momentum))
        stepped = torch._foreach_sub(values, direction, alpha=self.lr)
        return dict(zip(weights, stepped, strict=True))


def gradients(
    loss: Tensor,
    inputs: Sequence[Tensor],
    create_graph: bool = False,
    grad_outputs: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Return gradients of a scalar, or a vector-Jacobian product; zeros for unused inputs."""
    with without_autocast(loss.device.type):
        found = torch.autograd.grad(
            loss, inputs, grad_outputs=grad_outputs, create_graph=create_graph, allow_unused=True
        )
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]
