"""Replace depthwise convolutions where torch's own are slow.

On the CPU the gradient of a depthwise kernel of width 5 takes over ten times as long as that of width 3 (oneDNN).
It is assembled from the gradients of its columns 0 to 2 and 3 to 4: a column of the kernel only meets the image shifted
by that column, so the columns have independent gradients. The gradient of the image at stride 1 is the convolution of
the output's gradient with the mirrored kernel: a forward pass of the library takes 0.55 to 0.7 of its backward pass. A
convolution of dilation 2 only combines pixels of equal parity. It is therefore an undilated one on each phase of the
image: even and odd rows and columns apart, each a quarter of the image. All of it is exact; the order of summation, and
so the rounding, differs.
Shapes: B images, C channels, K the (odd) side of the kernel.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.spaces.matrices import by_hand

_FAST_WIDTH = 3
_SLOW_WIDTH = 5
_SMALLEST_SIDE = 8
"""Smallest side of images; below, the gradient in two parts is no faster."""


def depthwise(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply an undilated depthwise convolution to [B, C, H, W]."""
    return _convolve(x, convolution.weight, convolution.stride[0], (convolution.kernel_size[0] - 1) // 2)


def dilated_by_phases(convolution: nn.Conv2d, phases: Tensor) -> Tensor:
    """Apply a depthwise convolution of dilation 2 and stride 1 to the phases of an image, [4·B, C, H/2, W/2].

    The output, of the same shape, is in phases too.
    """
    return _convolve(phases, convolution.weight, 1, (convolution.kernel_size[0] - 1) // 2)


def dilated_by_even(convolution: nn.Conv2d, even: Tensor) -> Tensor:
    """Apply a depthwise convolution of dilation 2 and stride 2, which reads only even rows and columns.

    Args:
        convolution: The convolution.
        even: The even rows and columns of the image, [B, C, H/2, W/2].

    Returns:
        [B, C, H/2, W/2].
    """
    return _convolve(even, convolution.weight, 1, (convolution.kernel_size[0] - 1) // 2)


def to_phases(x: Tensor) -> Tensor:
    """Divide [B, C, H, W] with even H and W into its phases, [4·B, C, H/2, W/2], in channels_last.

    >>> to_phases(torch.arange(16.0).view(1, 1, 4, 4))[1]
    tensor([[[ 1.,  3.],
             [ 9., 11.]]])
    """
    B, C, H, W = x.shape
    y = x.permute(0, 2, 3, 1).reshape(B, H // 2, 2, W // 2, 2, C).permute(2, 4, 0, 1, 3, 5)
    return y.reshape(4 * B, H // 2, W // 2, C).permute(0, 3, 1, 2)


def from_phases(matrix: Tensor, phases: torch.Size) -> Tensor:
    """Join the matrix [4·B·H/2·W/2, C] of phases of shape `phases` into that of the images, [B·H·W, C]."""
    B, H, W = phases[0] // 4, phases[2], phases[3]
    return matrix.view(2, 2, B, H, W, -1).permute(2, 3, 0, 4, 1, 5).reshape(len(matrix), -1)


def even_and_odd(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the even rows and columns of [B, C, H, W] and the odd ones, each [B, C, H/2, W/2] in channels_last."""
    return _EvenAndOdd.apply(x)


def _convolve(x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
    if by_hand(x) and torch.is_grad_enabled():
        return _Depthwise.apply(x, kernel, stride, padding)
    return F.conv2d(x, kernel, None, stride, padding, 1, len(kernel))


class _Depthwise(torch.autograd.Function):
    """x [B, C, H, W] and kernel [C, 1, K, K] → [B, C, H / stride, W / stride]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, kernel, None, stride, padding, 1, len(kernel))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, kernel = ctx.saved_tensors
        needs_x, needs_kernel, *_ = ctx.needs_input_grad
        slow = kernel.shape[-1] == _SLOW_WIDTH and min(x.shape[2:]) >= _SMALLEST_SIDE
        in_parts = needs_kernel and slow and not torch.is_grad_enabled()  # the parts are not differentiated again
        mirrored = needs_x and ctx.stride == 1
        needed = (needs_x and not mirrored, needs_kernel and not in_parts)
        grad_x, grad_kernel = _backward(grad, x, kernel, ctx.stride, (ctx.padding, ctx.padding), needed)
        if mirrored:
            grad_x = F.conv2d(grad, kernel.flip(2, 3), None, 1, ctx.padding, 1, len(kernel))
        if in_parts:
            grad_kernel = torch.cat(
                [
                    _column_gradient(grad, x, kernel[..., first : first + _FAST_WIDTH], first, ctx.stride, ctx.padding)
                    for first in range(0, kernel.shape[-1], _FAST_WIDTH)
                ],
                dim=-1,
            )
        return grad_x, grad_kernel, None, None


def _column_gradient(grad: Tensor, x: Tensor, columns: Tensor, first: int, stride: int, padding: int) -> Tensor:
    """Compute the gradient of neighbouring columns of a kernel: that of a narrower kernel on a shifted image."""
    width = (grad.shape[-1] - 1) * stride + columns.shape[-1]
    left = padding - first
    shifted = F.pad(x, (left, width - left - x.shape[-1]))  # negative where the image is cropped
    grad_columns = _backward(grad, shifted, columns, stride, (padding, 0), (False, True))[1]
    assert grad_columns is not None
    return grad_columns


def _backward(
    grad: Tensor, x: Tensor, kernel: Tensor, stride: int, padding: tuple[int, int], needed: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Compute the gradients of input and kernel of a depthwise convolution, as far as they are needed."""
    if not any(needed):
        return None, None
    return torch.ops.aten.convolution_backward(
        grad, x, kernel, None, [stride, stride], padding, [1, 1], False, [0, 0], len(kernel), [*needed, False]
    )[:2]


class _EvenAndOdd(torch.autograd.Function):
    """Both in one function, because autograd would put each gradient into zeros of its own and add the two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.shape = x.shape
        even, odd = (x[:, :, k::2, k::2].contiguous(memory_format=torch.channels_last) for k in (0, 1))
        return even, odd

    @staticmethod
    def backward(ctx: Any, even: Tensor, odd: Tensor) -> Tensor:
        B, C, H, W = ctx.shape
        grad = even.new_zeros(B, H, W, C).permute(0, 3, 1, 2)
        grad[:, :, ::2, ::2] = even
        grad[:, :, 1::2, 1::2] = odd
        return grad
