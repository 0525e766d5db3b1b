"""Partial channels: only the first C/K channels of an edge go through its candidate operations.

Source: Xu et al., PC-DARTS (ICLR 2020), section 3.2 and released code: the sampled channels are a fixed prefix, and the
shuffle behind the edge is what lets the others take part later. Chen et al., DrNAS (ICLR 2021), do the same.
Left out: channels drawn at random for each edge, which PC-DARTS keeps in a file of its own and does not use.
Shapes: B images, C channels, K the divisor.
"""

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from nas_lightning.core.errors import ConfigError


def check_divisor(init_channels: int, divisor: int) -> None:
    """Refuse a divisor K that leaves a fraction of a channel.

    Reductions double the channels, so that K divides those of every cell and strided skip connections, which split
    theirs in two, have an even number of them.

    Raises:
        ConfigError: K does not divide the channels of the first cells.
    """
    if init_channels % divisor:
        step = divisor if divisor % 2 == 0 else 2 * divisor  # channels are even as well
        fitting = max(step, round(init_channels / step) * step)
        allowed = ", ".join(str(k) for k in range(1, init_channels + 1) if init_channels % k == 0)
        raise ConfigError(
            f"regularizer.partial_channels.divisor={divisor}: must divide search.init_channels={init_channels}; allowed"
            f" there: {allowed}, or use search.init_channels={fitting}"
        )


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of `groups` equal groups: first the first of each, then the second of each, and so on.

    Args:
        x: [B, C, H, W] with C a multiple of `groups`.
        groups: Number of groups.

    >>> channel_shuffle(torch.arange(6.0).view(1, 6, 1, 1), 2).flatten()
    tensor([0., 3., 1., 4., 2., 5.])
    """
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def bypass(x: Tensor, channels: int, stride: int) -> Tensor:
    """Return the channels that bypass the operations of an edge.

    Args:
        x: The input of the edge, [B, C, H, W].
        channels: C/K: how many go through the operations.
        stride: 1 or 2; with 2 the bypass is a 2×2 max pool.

    Returns:
        [B, C − C/K, H / stride, W / stride].
    """
    return max_pool2d(x[:, channels:], 2) if stride == 2 else x[:, channels:]


def join(mixed: Tensor, beside: Tensor, divisor: int) -> Tensor:
    """Join the mixed channels with those that bypass the operations, and shuffle them in K groups.

    Args:
        mixed: The mixture of the operations' outputs for the first C/K channels, [B, C/K, H, W].
        beside: The other channels, [B, C − C/K, H, W].
        divisor: K.

    Returns:
        [B, C, H, W].
    """
    return channel_shuffle(torch.cat([mixed, beside], dim=1), divisor)
