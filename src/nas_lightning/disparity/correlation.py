"""Correlate the features of a left image with those of the right one along rows, in plain operations of torch.

    c[b, d, y, x] = mean_k left[b, k, y, x] · right[b, k, y, x − d],    0 outside the image

so second derivatives exist. Source: the correlation layer of Mayer et al., DispNet (CVPR 2016), as the released code of
AutoDispNet uses it with d = −D … D; rectified pairs need d = 0 … D only.
Shapes: B pairs, K channels, H rows, W columns, D largest displacement.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def correlation(left: Tensor, right: Tensor, max_displacement: int, both_directions: bool = False) -> Tensor:
    """Return the products at displacements 0 … D, or −D … D with `both_directions`, [B, D + 1 or 2·D + 1, H, W].

    Args:
        left: Features of the left image, [B, K, H, W].
        right: Those of the right image, of the same shape.
        max_displacement: D.
        both_directions: Whether the right image is also shifted the other way.
    """
    beyond = max_displacement if both_directions else 0
    padded = F.pad(right, (max_displacement, beyond))
    windows = padded.unfold(
        3, max_displacement + beyond + 1, 1
    )  # a view; the last of a window has displacement −beyond
    return torch.einsum("bkyx,bkyxd->bdyx", left, windows).flip(1) / left.shape[1]
