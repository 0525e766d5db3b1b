"""Weighted sums of batch-normalised terms, Σ_k w_k·BN_k(P_k·x_k) or Σ_k w_k·BN_k(x_k), that keep no term.

Batch normalisation without affine parameters is linear in its input once its statistics are known, so a mixing weight,
the scale of the normalisation and the 1×1 convolution P before it are one matrix. The mean of P·x is P·m and its
variance diag(P·C·Pᵀ), with m and C the mean and the covariance of x: P·x is never written, let alone kept. The backward
pass is by hand, from the same matrices:

    a = w·r,  r = 1 / √(var + ε),  q = Σ_n G·(z − μ),  t = a·r²·q / N        (z = P·x; G the gradient of the sum)
    ∂w = Σ_c r·q      ∂z = a·(G − Σ_n G / N) − t·(z − μ)      ∂x = ∂z·P      ∂P = ∂zᵀ·x

On the CPU that is fewer and cheaper passes over memory than normalising term by term; see docs/performance.md. Where
it is not (other devices, autocast), where a gradient is differentiated again, and under torch.func the plain formula is
used, which is also what the tests compare with.
Shapes: N = B·H·W pixels, C channels out, Ci channels in, K terms; matrices are images in channels_last, row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.core.functional import autograd_is_plain


def by_hand(x: Tensor) -> bool:
    """Whether gradients are computed by hand here: on the CPU, outside of autocast and of torch.func."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)  # sums of squares leave the range of float16
        and torch.autograd.forward_ad._current_level < 0
        and not autograd_is_plain()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
    )


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
    """The weighted sum of the normalised terms, after a ReLU if asked for.

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


def scaled_sum(base: Tensor | None, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Base + Σ_k w_k·x_k, in one pass over each of them; all matrices are [N, C], the weights scalars."""
    if all(map(by_hand, inputs)):
        return _ScaledSum.apply(base, torch.stack(list(weights)), *inputs)
    total = base
    for x, weight in zip(inputs, weights, strict=True):
        total = x * weight if total is None else torch.addcmul(total, x, weight)
    assert total is not None
    return total


def rows(x: Tensor) -> Tensor:
    """[B, C, H, W] → [N, C], without a copy in channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def image(matrix: Tensor, like: torch.Size) -> Tensor:
    """[N, C] → [B, C, H, W] in channels_last, with B, H, W as in `like`."""
    return matrix.view(like[0], like[2], like[3], -1).permute(0, 3, 1, 2)


def normed(norm: nn.BatchNorm2d, x: Tensor, weight: Tensor | None = None, moves: bool = True) -> Tensor:
    """weight·BN(x) by torch's own operator: what `norm` would do to [B, C, H, W], with a scalar as its scale.

    Without `moves` the running statistics stay as they are.
    """
    return _normed(norm, x, weight, norm.training, norm.training and norm.track_running_stats and moves)


def _normed(norm: nn.BatchNorm2d, x: Tensor, weight: Tensor | None, training: bool, tracks: bool) -> Tensor:
    if tracks:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
    mean, var = (norm.running_mean, norm.running_var) if tracks or not training else (None, None)
    scale = None if weight is None else weight.expand(x.shape[1]).contiguous()
    return F.batch_norm(x, mean, var, scale, None, training, norm.momentum or 0.0, norm.eps)


def _plain_sum(terms: Sequence[Term], relu: bool, as_in: bool | None = None) -> Tensor:
    """The sum by torch's own operators; with `as_in`, as it was in that mode (training?), and nothing moves."""
    total: Tensor | None = None
    for term in terms:
        z = term.x if term.pointwise is None else F.conv2d(term.x, term.pointwise)
        if as_in is None:
            y = normed(term.norm, z, term.weight)
        else:
            y = _normed(term.norm, z, term.weight, as_in, tracks=False)
        if y.dtype in (torch.float16, torch.bfloat16):
            y = y.float()  # sums are in float32 whatever the precision of the terms
        total = y if total is None else total + y
    assert total is not None
    return rows(F.relu(total) if relu else total)


def _differentiable_gradients(ctx: Any, grad: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients of (weights, inputs, kernels) with a graph of their own, through the plain formula."""
    K = len(ctx.norms)
    weights, xs = inputs[0], inputs[1 : 1 + K]
    kernels: Sequence[Tensor | None] = inputs[1 + K :] or [None] * K
    terms = [
        Term(x[:, :, None, None], norm, weight, kernel)
        for x, norm, weight, kernel in zip(xs, ctx.norms, weights, kernels, strict=True)
    ]
    wanted = [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(_plain_sum(terms, ctx.relu, ctx.training), wanted, grad, create_graph=True))
    return [next(found) if x.requires_grad else None for x in inputs]


class _ScaledSum(torch.autograd.Function):
    """(base or None, weights [K], K matrices) → their weighted sum."""

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
        wants_base, wants_weights, *wanted = ctx.needs_input_grad
        of_weights = torch.stack([_inner_product(grad, x) for x in xs]) if wants_weights else None
        of_inputs = [grad * weight if wants else None for weight, wants in zip(weights, wanted, strict=True)]
        return grad if wants_base else None, of_weights, *of_inputs


def _inner_product(x: Tensor, y: Tensor) -> Tensor:
    """Σ x·y of two matrices."""
    return torch.dot(x.reshape(-1), y.reshape(-1))


class _NormedSum(torch.autograd.Function):
    """The sum by hand: (norms, relu, weights [K], K inputs [N, Ci], K kernels [C, Ci, 1, 1] or none) → [N, C]."""

    @staticmethod
    def forward(ctx: Any, norms: list[nn.BatchNorm2d], relu: bool, weights: Tensor, *tensors: Tensor) -> Tensor:
        K = len(norms)
        xs, kernels = tensors[:K], tensors[K:]
        P = torch.stack([kernel.flatten(1) for kernel in kernels]).double() if kernels else None
        training = norms[0].training
        statistics = _batch_statistics(xs, P) if training else _running_statistics(norms)
        if training:
            _move(norms, statistics, len(xs[0]))
        r = (statistics.var + norms[0].eps).rsqrt()
        a = weights.double()[:, None] * r
        shift = (-(a * statistics.mean).sum(0)).to(xs[0].dtype)
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
        if torch.is_grad_enabled():
            return None, None, *_differentiable_gradients(ctx, grad, [weights, *tensors])
        K = len(ctx.norms)
        xs, kernels = tensors[:K], tensors[K:]
        P, r, a, mean = ctx.P, ctx.r, ctx.a, ctx.statistics.mean
        g = grad.contiguous()
        if out is not None:
            g = torch.ops.aten.threshold_backward(g, out, 0)
        N, dtype = len(g), g.dtype
        total = g.sum(0).double()
        if P is None:
            correlation = torch.stack([(g * x).sum(0) for x in xs]).double()
        else:
            transposed = g.T
            products = torch.stack([transposed @ x for x in xs]).double()  # Gᵀ·x, [K, C, Ci]
            correlation = (products * P).sum(2)
        q = correlation - mean * total
        of_weights = (r * q).sum(1).to(weights.dtype)
        # The statistics of the batch depend on x, running ones do not.
        t = a * r * r * q / N if ctx.training else torch.zeros_like(a)
        centre = a * total / N if ctx.training else torch.zeros_like(a)
        of_inputs: list[Tensor | None] = [None] * K
        of_kernels: list[Tensor | None] = [None] * len(kernels)
        if P is None:
            shifts, slopes, scales = (t * mean - centre).to(dtype), (-t).to(dtype), a.to(dtype)
            for k, x in enumerate(xs):
                if ctx.needs_input_grad[3 + k]:
                    of_inputs[k] = torch.addcmul(shifts[k], g, scales[k])
                    if ctx.training:
                        of_inputs[k].addcmul_(x, slopes[k])  # type: ignore[union-attr]
            return None, None, of_weights, *of_inputs
        if any(ctx.needs_input_grad[3 + K :]):
            found = a[:, :, None] * products
            if ctx.training:
                m, PC = ctx.statistics.input_mean, ctx.statistics.projected
                found = found - (N * centre)[:, :, None] * m[:, None, :] - N * t[:, :, None] * PC
            of_kernels = [p.to(dtype).view_as(kernel) for p, kernel in zip(found, kernels, strict=True)]
        matrices = (a[:, :, None] * P).to(dtype)
        if ctx.training:
            S = P.transpose(1, 2) @ (t[:, :, None] * P)
            shifts = ((ctx.statistics.input_mean[:, None, :] @ S) - centre[:, None, :] @ P)[:, 0].to(dtype)
            slopes = (-S).to(dtype)
        for k, x in enumerate(xs):
            if ctx.needs_input_grad[3 + k]:
                of_inputs[k] = (
                    torch.addmm(shifts[k], g, matrices[k]).addmm_(x, slopes[k]) if ctx.training else g @ matrices[k]
                )
        return None, None, of_weights, *of_inputs, *of_kernels


@dataclass(frozen=True)
class _Statistics:
    """Mean and biased variance of what is normalised, each [K, C] in float64; and what the backward pass needs."""

    mean: Tensor
    var: Tensor
    input_mean: Tensor | None = None
    """m [K, Ci]."""
    projected: Tensor | None = None
    """P·C [K, C, Ci]."""


def _batch_statistics(xs: Sequence[Tensor], kernels: Tensor | None) -> _Statistics:
    """Those of P·x, with P [K, C, Ci] in float64, or of x itself."""
    pixels = len(xs[0])
    m = torch.stack([x.sum(0) for x in xs]).double() / pixels
    if kernels is None:
        squares = torch.stack([(x * x).sum(0) for x in xs]).double() / pixels
        return _Statistics(m, (squares - m * m).clamp_min(0))
    covariance = torch.stack([x.T @ x for x in xs]).double() / pixels - m[:, :, None] * m[:, None, :]
    projected = kernels @ covariance
    mean = (kernels @ m[:, :, None])[:, :, 0]
    return _Statistics(mean, (projected * kernels).sum(2).clamp_min(0), m, projected)


def _running_statistics(norms: Sequence[nn.BatchNorm2d]) -> _Statistics:
    mean, var = (torch.stack([getattr(norm, name) for norm in norms]) for name in ("running_mean", "running_var"))
    return _Statistics(mean.double(), var.double())


def _move(norms: Sequence[nn.BatchNorm2d], statistics: _Statistics, pixels: int) -> None:
    """Move the running statistics as the normalisations would by themselves."""
    moved = [(k, norm) for k, norm in enumerate(norms) if norm.track_running_stats]
    if moved:
        unbiased = statistics.var * (pixels / max(1, pixels - 1))
        move(
            [norm for _, norm in moved],
            [statistics.mean[k] for k, _ in moved],
            [unbiased[k] for k, _ in moved],
        )


@torch.no_grad()
def move(norms: Sequence[nn.BatchNorm2d], means: Sequence[Tensor], variances: Sequence[Tensor]) -> None:
    """Move running statistics towards these, each [C]; the variances are the unbiased ones."""
    for momentum in {norm.momentum for norm in norms}:
        assert momentum is not None
        chosen = [k for k, norm in enumerate(norms) if norm.momentum == momentum]
        for name, values in (("running_mean", means), ("running_var", variances)):
            # As torch's own operator does: unseen by graphs that hold the buffers without needing their values.
            buffers = [getattr(norms[k], name).data for k in chosen]
            torch._foreach_lerp_(
                buffers, [values[k].to(b.dtype) for k, b in zip(chosen, buffers, strict=True)], momentum
            )
    torch._foreach_add_([getattr(norm, "num_batches_tracked") for norm in norms], 1)  # noqa: B009
