"""The average pool of width 3 as a depthwise convolution, whose kernels are faster on the CPU than those of the pool.

With ones as its kernel a convolution sums the pixels under the window. Divided by how many of them lie in the image,
that is the average without padding. The kernel is symmetric, so the gradient is the same convolution.
Shapes: B images, C channels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.spaces.matrices import by_hand
from nas_lightning.spaces.operations import AveragePool

_SETTINGS = {"kernel_size": 3, "stride": 1, "padding": 1, "ceil_mode": False, "count_include_pad": False}


def pool_of(pool: nn.Module, x: Tensor) -> Tensor:
    """Apply a pool to [B, C, H, W]: an average of width 3 and stride 1 as a convolution, any other as it is."""
    plain = type(pool) is AveragePool and pool.divisor_override is None
    if plain and by_hand(x) and all(getattr(pool, name) == value for name, value in _SETTINGS.items()):
        return _AveragePool.apply(x)
    return pool(x)


class _AveragePool(torch.autograd.Function):
    """[B, C, H, W] → [B, C, H, W]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.kernel = x.new_ones(x.shape[1], 1, 3, 3)
        inside = F.conv2d(x.new_ones(1, 1, *x.shape[2:]), ctx.kernel[:1], padding=1)  # pixels of each window
        ctx.scale = inside.reciprocal_()
        return _sums(x, ctx.kernel).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _sums(grad * ctx.scale, ctx.kernel)


def _sums(x: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(x, kernel, padding=1, groups=len(kernel))
