"""Weighted sums of batch-normalised terms, Σ_k w_k·BN_k(P_k·x_k) or Σ_k w_k·BN_k(x_k), without storing a term.

Why the normalisations of a sum may be rewritten: without affine parameters, batch normalisation maps a channel z to
r·(z − μ) with r = 1 / √(var + ε). Once μ and var are known that is an affine map, and so are the mixing weight w and
the 1×1 convolution P before it. Their composition is one matrix and one shift,

    w·BN(P·x) = A·x − a·μ        a = w·r,  A = diag(a)·P

and the terms of a sum go into one accumulator, with one shift for all. In training mode μ and var depend on x, but they
follow from the mean and the covariance of x (see `norm_statistics`): z = P·x is never written, let alone kept.

The backward pass comes from the same matrices. With g the gradient of the sum, over N pixels n:

    q = Σ_n g·(z − μ)   t = a·r²·q / N
    ∂w = Σ_c r·q        ∂z = a·(g − Σ_n g / N) − t·(z − μ)        ∂x = ∂z·P        ∂P = ∂zᵀ·x

On running statistics μ and var are constants, so ∂z = a·g. Nothing here needs z either: Σ_n g·z = diag((gᵀ·x)·Pᵀ),
Σ_n (z − μ)·xᵀ = N·P·C with C the covariance, and t·(z − μ)·P = (x − m)·(Pᵀ·diag(t)·P).

All of it is exact in real arithmetic, so values and gradients equal those of term-by-term normalisation up to rounding:
sums over pixels are in the dtype of the input, in another order; what has no pixels is in float64.

On the CPU that is fewer and cheaper passes over memory; see docs/performance.md. Where it is not (see `by_hand`), and
where a gradient is differentiated again, the plain formula is used, which is also what the tests compare with.
Shapes: N = B·H·W pixels, C channels out, Ci channels in, K terms; matrices are images in channels_last, row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.spaces.matrices import by_hand, rows
from nas_lightning.spaces.norm_statistics import batch_statistics, running_statistics, update_running_statistics


@dataclass(frozen=True)
class Term:
    """One term of a sum.

    Args:
        x: Input [B, Ci, H, W].
        norm: Its normalisation, without affine parameters.
        weight: Its scalar weight; None is 1.
        pointwise: The kernel of a 1×1 convolution before the normalisation, [C, Ci, 1, 1].
    """

    x: Tensor
    norm: nn.BatchNorm2d
    weight: Tensor | None = None
    pointwise: Tensor | None = None


def normed_sum(terms: Sequence[Term], relu: bool = False) -> Tensor:
    """Compute the weighted sum of the normalised terms, after a ReLU if requested.

    The normalisations do what they would by themselves: in training mode they use the statistics of the batch and
    move their running ones if they track any, else they use the running ones.

    Args:
        terms: At least one; inputs of equal shape, and all of them with a pointwise kernel or none.
        relu: Whether a ReLU follows.

    Returns:
        [N, C].
    """
    if not by_hand(terms[0].x):
        return _plain_sum(terms, relu)
    one = terms[0].x.new_ones(())
    weights = torch.stack([one if term.weight is None else term.weight for term in terms])
    inputs = [rows(term.x) for term in terms]
    kernels = [term.pointwise for term in terms if term.pointwise is not None]
    return _NormedSum.apply([term.norm for term in terms], relu, weights, *inputs, *kernels)


def normed(norm: nn.BatchNorm2d, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute weight·BN(x) with torch's own operator: `norm` on [B, C, H, W], with a scalar as its scale."""
    return _normed(norm, x, weight, norm.training, norm.training and norm.track_running_stats)


def _normed(norm: nn.BatchNorm2d, x: Tensor, weight: Tensor | None, training: bool, tracks: bool) -> Tensor:
    if tracks:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
    mean, var = (norm.running_mean, norm.running_var) if tracks or not training else (None, None)
    scale = None if weight is None else weight.expand(x.shape[1]).contiguous()
    return F.batch_norm(x, mean, var, scale, None, training, norm.momentum or 0.0, norm.eps)


def _plain_sum(terms: Sequence[Term], relu: bool, replayed: bool | None = None) -> Tensor:
    """Compute the sum with torch's own operators.

    Args:
        terms: The terms.
        relu: Whether a ReLU follows.
        replayed: For a pass that has been made before, whether it was made in training mode. Then that mode counts,
            whatever the normalisations are in by now, and no buffer moves: the first pass has moved them.
    """
    total: Tensor | None = None
    for term in terms:
        z = term.x if term.pointwise is None else F.conv2d(term.x, term.pointwise)
        if replayed is None:
            y = normed(term.norm, z, term.weight)
        else:
            y = _normed(term.norm, z, term.weight, replayed, tracks=False)
        if y.dtype in (torch.float16, torch.bfloat16):
            y = y.float()  # sums are in float32 whatever the precision of the terms
        total = y if total is None else total + y
    assert total is not None
    return rows(F.relu(total) if relu else total)


def _differentiable_gradients(ctx: Any, grad: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """Compute the gradients of (weights, inputs, kernels) with a graph of their own, through the plain formula."""
    K = len(ctx.norms)
    weights, xs = inputs[0], inputs[1 : 1 + K]
    kernels: Sequence[Tensor | None] = inputs[1 + K :] or [None] * K
    terms = [
        Term(x[:, :, None, None], norm, weight, kernel)
        for x, norm, weight, kernel in zip(xs, ctx.norms, weights, kernels, strict=True)
    ]
    needed = [x for x in inputs if x.requires_grad]
    grads = iter(torch.autograd.grad(_plain_sum(terms, ctx.relu, ctx.training), needed, grad, create_graph=True))
    return [next(grads) if x.requires_grad else None for x in inputs]


class _NormedSum(torch.autograd.Function):
    """The sum by hand: (norms, relu, weights [K], K inputs [N, Ci], K kernels [C, Ci, 1, 1] or none) → [N, C].

    Buffers move in the forward pass, once; the backward pass only reads what the forward pass has kept.
    """

    @staticmethod
    def forward(ctx: Any, norms: list[nn.BatchNorm2d], relu: bool, weights: Tensor, *tensors: Tensor) -> Tensor:
        K = len(norms)
        xs, kernels = tensors[:K], tensors[K:]
        P = torch.stack([kernel.flatten(1) for kernel in kernels]).double() if kernels else None
        training = norms[0].training
        statistics = batch_statistics(xs, P) if training else running_statistics(norms)
        if training:
            update_running_statistics(norms, statistics, len(xs[0]))
        r = (statistics.var + norms[0].eps).rsqrt()
        a = weights.double()[:, None] * r
        shift = (-(a * statistics.mean).sum(0)).to(xs[0].dtype)  # −Σ_k a·μ: one for the whole sum
        # Accumulate in place: each term reads its input and the sum once, and no partial sum is kept for autograd.
        if P is None:
            scales = a.to(xs[0].dtype)
            out = torch.addcmul(shift, xs[0], scales[0])
            for x, scale in zip(xs[1:], scales[1:], strict=True):
                out.addcmul_(x, scale)
        else:
            matrices = (a[:, :, None] * P).to(xs[0].dtype).transpose(1, 2)
            out = torch.addmm(shift, xs[0], matrices[0])
            for x, matrix in zip(xs[1:], matrices[1:], strict=True):
                out.addmm_(x, matrix)
        if relu:
            out.relu_()
        ctx.save_for_backward(weights, *tensors, *((out,) if relu else ()))
        ctx.norms, ctx.relu, ctx.training = norms, relu, training
        ctx.statistics, ctx.P, ctx.r, ctx.a = statistics, P, r, a
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, *tensors = ctx.saved_tensors
        out = tensors.pop() if ctx.relu else None
        if torch.is_grad_enabled():  # create_graph: a gradient by hand has no graph of its own
            return None, None, *_differentiable_gradients(ctx, grad, [weights, *tensors])
        K = len(ctx.norms)
        xs, kernels = tensors[:K], tensors[K:]
        P, r, a = ctx.P, ctx.r, ctx.a
        g = grad.contiguous()
        if out is not None:
            g = torch.ops.aten.threshold_backward(g, out, 0)  # the output of a ReLU is positive where its input is
        N, total = len(g), g.sum(0).double()
        products = None
        if P is None:
            correlation = torch.stack([(g * x).sum(0) for x in xs]).double()
        else:
            transposed = g.T
            products = torch.stack([transposed @ x for x in xs]).double()  # gᵀ·x, [K, C, Ci]
            correlation = (products * P).sum(2)  # Σ_n g·z
        q = correlation - ctx.statistics.mean * total
        grad_weights = (r * q).sum(1).to(weights.dtype)
        # The statistics of the batch depend on x, running ones do not.
        t = a * r * r * q / N if ctx.training else torch.zeros_like(a)
        centre = a * total / N if ctx.training else torch.zeros_like(a)
        if products is None:
            return None, None, grad_weights, *_input_gradients(ctx, g, xs, t, centre)
        grad_kernels: list[Tensor | None] = [None] * K
        if any(ctx.needs_input_grad[3 + K :]):
            grad_kernels = _kernel_gradients(ctx, kernels, products, N * t, N * centre)
        return None, None, grad_weights, *_projected_input_gradients(ctx, g, xs, t, centre), *grad_kernels


# In the gradients below g is [N, C], and a, t and centre = a·Σ_n g / N are [K, C].


def _input_gradients(ctx: Any, g: Tensor, xs: Sequence[Tensor], t: Tensor, centre: Tensor) -> list[Tensor | None]:
    """Compute ∂x = a·g − t·x + (t·μ − centre): ∂z, sorted by the tensors that have pixels."""
    a, mean, dtype = ctx.a, ctx.statistics.mean, g.dtype
    grads: list[Tensor | None] = [None] * len(xs)
    shifts, slopes, scales = (t * mean - centre).to(dtype), (-t).to(dtype), a.to(dtype)
    for k, x in enumerate(xs):
        if ctx.needs_input_grad[3 + k]:
            grad = torch.addcmul(shifts[k], g, scales[k])
            grads[k] = grad.addcmul_(x, slopes[k]) if ctx.training else grad
    return grads


def _projected_input_gradients(
    ctx: Any, g: Tensor, xs: Sequence[Tensor], t: Tensor, centre: Tensor
) -> list[Tensor | None]:
    """Compute ∂x = ∂z·P = g·A − x·S + (mᵀ·S − centreᵀ·P) with S = Pᵀ·diag(t)·P, since z − μ = P·(x − m)."""
    a, P, dtype = ctx.a, ctx.P, g.dtype
    grads: list[Tensor | None] = [None] * len(xs)
    matrices = (a[:, :, None] * P).to(dtype)
    if ctx.training:
        S = P.transpose(1, 2) @ (t[:, :, None] * P)
        shifts = ((ctx.statistics.input_mean[:, None, :] @ S) - centre[:, None, :] @ P)[:, 0].to(dtype)
        slopes = (-S).to(dtype)
    for k, x in enumerate(xs):
        if ctx.needs_input_grad[3 + k]:
            grads[k] = torch.addmm(shifts[k], g, matrices[k]).addmm_(x, slopes[k]) if ctx.training else g @ matrices[k]
    return grads


def _kernel_gradients(
    ctx: Any, kernels: Sequence[Tensor], products: Tensor, scaled_t: Tensor, scaled_centre: Tensor
) -> list[Tensor | None]:
    """Compute ∂P = ∂zᵀ·x = diag(a)·gᵀ·x − N·centre·mᵀ − N·diag(t)·P·C.

    Args:
        ctx: What the forward pass has kept.
        kernels: The kernels, each [C, Ci, 1, 1].
        products: gᵀ·x, [K, C, Ci].
        scaled_t: N·t.
        scaled_centre: N·centre.
    """
    grads = ctx.a[:, :, None] * products
    if ctx.training:
        m, PC = ctx.statistics.input_mean, ctx.statistics.projected
        grads = grads - scaled_centre[:, :, None] * m[:, None, :] - scaled_t[:, :, None] * PC
    return [grad.to(kernel.dtype).view_as(kernel) for grad, kernel in zip(grads, kernels, strict=True)]
