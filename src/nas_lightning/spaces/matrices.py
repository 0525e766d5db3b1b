"""Images as matrices of pixels, their weighted sums, and the test for hand-written gradients.

A matrix has a row for each pixel of a batch and a column for each channel. In channels_last that is the order in
memory: images become matrices and back without a copy, 1×1 convolutions are matrix products, and sums over pixels are
sums over rows.
Shapes: B images, C channels, N = B·H·W pixels, K terms.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nas_lightning.core.functional import autograd_is_plain, computes_as_cpu


def by_hand(x: Tensor) -> bool:
    """Check whether to use hand-written gradients for x: on the CPU, outside of autocast and of torch.func.

    They save passes over memory, which is what the CPU waits for. Elsewhere torch's operators serve better: a GPU has
    fused kernels, autocast picks dtypes per operator, and torch.func and forward-mode differentiation need operators
    with rules of their own, which these autograd functions lack.
    """
    return (
        computes_as_cpu(x.device)
        and x.dtype in (torch.float32, torch.float64)  # sums of squares leave the range of float16
        and torch.autograd.forward_ad._current_level < 0
        and not autograd_is_plain()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
    )


def rows(x: Tensor) -> Tensor:
    """Turn [B, C, H, W] into [N, C], without a copy in channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def image(matrix: Tensor, like: torch.Size) -> Tensor:
    """Turn [N, C] into [B, C, H, W] in channels_last, with B, H, W as in `like`."""
    return matrix.view(like[0], like[2], like[3], -1).permute(0, 3, 1, 2)


def scaled_sum(base: Tensor | None, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Compute base + Σ_k w_k·x_k in one pass over each of them; all matrices are [N, C], the weights scalars."""
    if all(map(by_hand, inputs)):
        return _ScaledSum.apply(base, torch.stack(list(weights)), *inputs)
    total = base
    for x, weight in zip(inputs, weights, strict=True):
        total = x * weight if total is None else torch.addcmul(total, x, weight)
    assert total is not None
    return total


class _ScaledSum(torch.autograd.Function):
    """(base or None, weights [K], K matrices) → their weighted sum.

    One function for all terms, because autograd would keep every partial sum and visit them one by one. The gradient
    of the base is that of the sum itself, not a copy.
    """

    @staticmethod
    def forward(ctx: Any, base: Tensor | None, weights: Tensor, *xs: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *xs)
        total = xs[0] * weights[0] if base is None else torch.addcmul(base, xs[0], weights[0])
        for x, weight in zip(xs[1:], weights[1:], strict=True):
            total.addcmul_(x, weight)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, *xs = ctx.saved_tensors
        needs_base, needs_weights, *needs_inputs = ctx.needs_input_grad
        grad_weights = torch.stack([_inner_product(grad, x) for x in xs]) if needs_weights else None
        grad_inputs = [grad * weight if needed else None for weight, needed in zip(weights, needs_inputs, strict=True)]
        return grad if needs_base else None, grad_weights, *grad_inputs


def _inner_product(x: Tensor, y: Tensor) -> Tensor:
    """Compute Σ x·y of two matrices."""
    return torch.dot(x.reshape(-1), y.reshape(-1))
