"""Mean and variance of batch-normalised terms, from the moments of their inputs; updates of running statistics.

With m and C the mean and the covariance over all pixels of an input x, the output z = P·x of a 1×1 convolution has

    mean μ = P·m        variance diag(P·C·Pᵀ)

so the statistics of z follow from Ci×Ci numbers and z itself need not be computed. These identities are exact; in
floating point C = E[x·xᵀ] − m·mᵀ cancels digits where the mean is large against the deviation. Everything after the
sums over pixels is therefore in float64: the tensors are tiny, and no further digits are lost.
Shapes: K terms, N pixels, C channels out, Ci channels in; x is [N, Ci], P [K, C, Ci].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Statistics:
    """Mean and biased variance of the K tensors to normalise, each [K, C] in float64.

    Batch statistics of 1×1 convolutions also hold the intermediate results that the backward pass reuses.
    """

    mean: Tensor
    var: Tensor
    input_mean: Tensor | None = None
    """m [K, Ci]."""
    projected: Tensor | None = None
    """P·C [K, C, Ci]."""


def batch_statistics(xs: Sequence[Tensor], kernels: Tensor | None) -> Statistics:
    """Compute the statistics of P·x for each x, with P [K, C, Ci] in float64, or of x itself without kernels."""
    pixels = len(xs[0])
    m = torch.stack([x.sum(0) for x in xs]).double() / pixels
    if kernels is None:
        squares = torch.stack([(x * x).sum(0) for x in xs]).double() / pixels
        return Statistics(m, (squares - m * m).clamp_min(0))  # rounding can push a zero variance below 0
    covariance = torch.stack([x.T @ x for x in xs]).double() / pixels - m[:, :, None] * m[:, None, :]
    projected = kernels @ covariance
    mean = (kernels @ m[:, :, None])[:, :, 0]
    # The diagonal of (P·C)·Pᵀ alone: row by row products instead of a C×C matrix.
    return Statistics(mean, (projected * kernels).sum(2).clamp_min(0), m, projected)


def running_statistics(norms: Sequence[nn.BatchNorm2d]) -> Statistics:
    """Read the running statistics of the normalisations."""
    mean, var = (torch.stack([getattr(norm, name) for norm in norms]) for name in ("running_mean", "running_var"))
    return Statistics(mean.double(), var.double())


def update_running_statistics(norms: Sequence[nn.BatchNorm2d], statistics: Statistics, pixels: int) -> None:
    """Move the running statistics of the normalisations that track them towards the statistics of a batch."""
    tracking = [(k, norm) for k, norm in enumerate(norms) if norm.track_running_stats]
    if tracking:
        unbiased = statistics.var * (pixels / max(1, pixels - 1))  # torch tracks the unbiased variance
        means, variances = ([values[k] for k, _ in tracking] for values in (statistics.mean, unbiased))
        move([norm for _, norm in tracking], means, variances)


@torch.no_grad()
def move(norms: Sequence[nn.BatchNorm2d], means: Sequence[Tensor], variances: Sequence[Tensor]) -> None:
    """Move running statistics one step towards these, each [C]; the variances are the unbiased ones.

    All normalisations move in a few calls: one call each would cost more than the arithmetic.
    """
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


def normed_by_batch(norm: nn.BatchNorm2d, y: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Normalise [B, C, H, W] by its batch without moving a buffer of `norm`.

    With momentum 1 the fresh tensors below receive the statistics of the batch.

    Returns:
        The result, and the mean and unbiased variance [C]; None for both if `norm` tracks none.
    """
    if not norm.track_running_stats:
        return F.batch_norm(y, None, None, training=True, eps=norm.eps), None, None
    assert norm.running_mean is not None
    mean, var = y.new_zeros((2, y.shape[1]), dtype=norm.running_mean.dtype).unbind()
    return F.batch_norm(y, mean, var, training=True, momentum=1.0, eps=norm.eps), mean, var


class PendingUpdates:
    """Updates of running statistics that are collected during a pass and made together at its end.

    A pooled and normalised node is shared by all edges that leave it, but each edge has a normalisation of its own with
    buffers of its own. Computing the value must not move any of them, and each moves exactly once in a pass.
    """

    def __init__(self) -> None:
        self._updates: list[tuple[nn.BatchNorm2d, Tensor, Tensor]] = []

    def add(self, norm: nn.BatchNorm2d, mean: Tensor, var: Tensor) -> None:
        """Note that the statistics of `norm` are to move towards these, each [C]."""
        self._updates.append((norm, mean, var))

    def apply(self) -> None:
        """Make the updates."""
        if self._updates:
            norms, means, variances = zip(*self._updates, strict=True)
            move(norms, means, variances)
