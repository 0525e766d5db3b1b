"""Depthwise convolutions of a discrete network that train fast on the CPU: same weights, same results up to rounding.

For networks in which no operation shares work with another; the cells of a supernet share more.
Shapes: B images, C channels.
"""

from torch import Tensor, nn

from nas_lightning.spaces.depthwise import depthwise, dilated_by_even, dilated_by_phases, to_phases
from nas_lightning.spaces.matrices import by_hand

_SMALLEST_SIDE = 8
"""Below, torch's own convolution is faster (measured on AVX2)."""


class QuickDepthwise(nn.Conv2d):
    """A depthwise convolution of an odd kernel, stride and dilation 1 or 2, padded to keep the resolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H / stride, W / stride]."""
        H, W = x.shape[2:]
        if not by_hand(x) or min(H, W) < _SMALLEST_SIDE:
            return super().forward(x)
        if self.dilation[0] == 1:
            return depthwise(self, x)
        if self.stride[0] == 2:
            return dilated_by_even(self, x[:, :, ::2, ::2])
        if H % 2 or W % 2:
            return super().forward(x)
        return _from_phases(dilated_by_phases(self, to_phases(x)))


def quicken(operation: nn.Module) -> nn.Module:
    """Replace the depthwise convolutions of an operation, in place; parameters stay the same objects."""
    for name, child in operation.named_children():
        if isinstance(child, nn.Conv2d) and child.groups == child.in_channels > 1:
            setattr(operation, name, _quick_depthwise(child))
    return operation


def _quick_depthwise(old: nn.Conv2d) -> QuickDepthwise:
    C = old.in_channels
    new = nn.utils.skip_init(  # draws no random numbers
        QuickDepthwise, C, C, old.kernel_size, old.stride, old.padding, old.dilation, groups=C, bias=False
    )
    new.weight = old.weight
    return new


def _from_phases(phases: Tensor) -> Tensor:
    """Join phases [4·B, C, H/2, W/2] into [B, C, H, W] in channels_last.

    >>> import torch
    >>> x = torch.arange(16.0).view(1, 1, 4, 4)
    >>> torch.equal(_from_phases(to_phases(x)), x)
    True
    """
    B, C, H, W = len(phases) // 4, *phases.shape[1:]
    y = phases.permute(0, 2, 3, 1).reshape(2, 2, B, H, W, C).permute(2, 3, 0, 4, 1, 5)
    return y.reshape(B, 2 * H, 2 * W, C).permute(0, 3, 1, 2)
