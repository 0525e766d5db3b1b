"""Augment point clouds.

Source: Li et al., SGAS (CVPR 2020), released code for ModelNet40: a factor from U(2/3, 3/2) and a shift from
U(−0.2, 0.2) along each axis. Left out: the order of the points is not shuffled, because networks do not see it.
Shapes: N points of a cloud.
"""

from dataclasses import dataclass
from math import cos, radians, sin

import torch
from torch import Tensor


@dataclass(frozen=True)
class PointAugmentation:
    """Random turn, stretch, shift and jitter of a cloud.

    Args:
        rotation: Largest turn about the third axis, to either side, in degrees; 0: none.
        scale: Largest factor along each axis, whose smallest is its inverse, uniform between them; 1: none.
        shift: Largest move along each axis; 0: none.
        jitter: Standard deviation of what moves each point; 0: none.
    """

    rotation: float = 0.0
    scale: float = 1.0
    shift: float = 0.0
    jitter: float = 0.0

    def __call__(self, cloud: Tensor) -> Tensor:
        """Augment a cloud [3, N]; always draws as many numbers from torch's global generator."""
        turn, factors, moves = torch.rand(()), torch.rand(3, 1), torch.rand(3, 1)
        noise = torch.randn(cloud.shape)
        least = 1 / self.scale
        cloud = turned(cloud, self.rotation * float(2 * turn - 1))
        cloud = cloud * (least + (self.scale - least) * factors) + self.shift * (2 * moves - 1)
        return cloud + self.jitter * noise


def turned(cloud: Tensor, degrees: float) -> Tensor:
    """Return a cloud [3, N] turned about the third axis, from the first axis to the second.

    >>> turned(torch.tensor([[1.0], [0.0], [5.0]]), 90.0).flatten().round().abs()
    tensor([0., 1., 5.])
    """
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], dtype=cloud.dtype) @ cloud
