"""Disparities without learning: matching of blocks, the baseline that a network has to beat.

Shapes: B pairs, C channels of an image, H rows, W columns.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def block_matching(pairs: Tensor, max_disparity: int, size: int = 7) -> Tensor:
    """Find for each pixel of the left image the shift at which the blocks around it differ least.

    The difference is the mean absolute one over the pixels of a block that lie in both images. Of equal shifts the
    smaller one is taken.

    Args:
        pairs: Left channels, then right ones, [B, 2·C, H, W].
        max_disparity: Largest shift that is tried, in pixels.
        size: Side of a block, odd.

    Returns:
        Disparities [B, 1, H, W], whole numbers.
    """
    left, right = pairs.chunk(2, dim=1)
    width = left.shape[-1]
    costs = left.new_full((len(left), max_disparity + 1, *left.shape[2:]), torch.inf)
    for shift in range(min(max_disparity, width - 1) + 1):
        difference = (left[..., shift:] - right[..., : width - shift]).abs().mean(dim=1, keepdim=True)
        costs[:, shift : shift + 1, :, shift:] = F.avg_pool2d(
            difference, size, stride=1, padding=size // 2, count_include_pad=False
        )
    return costs.argmin(dim=1, keepdim=True).to(left.dtype)
