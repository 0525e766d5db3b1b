"""Inner step of the unrolled objective, gradients of losses that may not use every tensor, and their differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nas_lightning.core.bilevel import Loss, Tensors
from nas_lightning.core.functional import without_autocast


@dataclass(frozen=True)
class SGDStep:
    """Computes one step of SGD as a function: w' = w − lr·(momentum·buffer + g + weight_decay·w), or Nesterov's.

    The released DARTS code unrolls the same: momentum buffer and weight decay enter. Clipping is up to the caller: see
    `clipped`.

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
    """Return gradients of a scalar, or a vector-Jacobian product; zeros for unused inputs.

    A loss may depend on no input at all: where one operation an edge is drawn, and all that are drawn before the output
    are `none`, no mixing weight reaches it, and with constant weights nothing else does.
    """
    if not loss.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    with without_autocast(loss.device.type):
        found = torch.autograd.grad(
            loss, inputs, grad_outputs=grad_outputs, create_graph=create_graph, allow_unused=True
        )
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


def clipped(gradients: list[Tensor], clip: float | None) -> tuple[list[Tensor], Tensor | None]:
    """Scale gradients to a norm of at most `clip`, as a clipped step of the weights does.

    Args:
        gradients: Tensors, detached and averaged over the processes: the norm is that of all of them together.
        clip: Largest norm; None leaves them as they are.

    Returns:
        The gradients times c = min(1, clip / norm), and c, a scalar on their device; None without a clip.
    """
    if clip is None or not gradients:
        return gradients, None
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    coefficient = (clip / norm).clamp(max=1.0)  # zero gradients: infinity before, 1 after
    return list(torch._foreach_mul(gradients, coefficient)), coefficient


def differences(
    loss: Loss, weights: Tensors, arch: Tensors, direction: list[Tensor], radius: float, of: list[Tensor] | None = None
) -> list[Tensor]:
    """Return ∇²_{αw} L·direction by a central difference of architecture gradients.

    The loss is evaluated twice and must repeat its random draws: a finite difference of losses with fresh masks is mask
    noise divided by the small radius.

    Args:
        loss: L, a function of weights and architecture parameters.
        weights: Weights w by name, detached.
        arch: Architecture parameters α by choice, each [R, O].
        direction: Vector in the order of the weights.
        radius: Step radius / ‖of‖ along the direction, to either side.
        of: Vector whose norm scales the step; None: the direction.

    Returns:
        Tensors in the order of `arch`, each [R, O]; zeros where that norm is zero.
    """
    names, alpha = list(weights), list(arch.values())
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(direction if of is None else of)))
    # Where the outer loss does not depend on the weights, nothing flows through the inner step. Asked and answered
    # on the device: the host would have to wait for the number.
    flat = norm == 0
    step = radius / norm.masked_fill(flat, 1)
    sides = [
        gradients(loss(dict(zip(names, shifted, strict=True)), arch), alpha)
        for shifted in _sides(list(weights.values()), direction, step)
    ]
    return [((plus - minus) / (2 * step)).masked_fill(flat, 0) for plus, minus in zip(*sides, strict=True)]


def _sides(weights: list[Tensor], v: list[Tensor], step: Tensor) -> Iterator[list[Tensor]]:
    """Yield w + step·v, then w − step·v, as copies: adding and subtracting in place does not restore the bits of w."""
    if step.device.type == "cpu":  # a number that costs nothing to read: multiplied and added in one pass
        yield list(torch._foreach_add(weights, v, alpha=float(step)))
        yield list(torch._foreach_add(weights, v, alpha=-float(step)))
        return
    change = torch._foreach_mul(v, step)
    yield list(torch._foreach_add(weights, change))
    yield list(torch._foreach_sub(weights, change))
