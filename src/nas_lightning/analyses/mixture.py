"""The optimal mixture of a convolution and a skip connection, which explains why skip connections gain weight.

Source: Wang et al., Rethinking architecture selection in differentiable NAS (ICLR 2021), Proposition 1. In the view of
unrolled estimation (Greff et al., ICLR 2017) all edges estimate one feature map m*. Among the mixtures
θ·o(x) + (1 − θ)·x of a convolution and a skip connection with independent errors, var(θ·o(x) + (1 − θ)·x − m*) is
minimal at θ_conv ∝ var(x − m*) and θ_skip ∝ var(o(x) − m*). In a trained supernet x already estimates m*, and the
better it does, the larger the weight of the skip connection: the weight does not measure how good the architecture is
with it. Left out: several convolutions, and correlated errors.
"""

import torch
from torch import Tensor


def optimal_mixture(convolution: Tensor, skip: Tensor, target: Tensor) -> tuple[float, float]:
    """Return the two weights, which sum to 1, whose mixture has the least variance around the target.

    Args:
        convolution: o(x), of any shape; the variances are over all its elements.
        skip: x, of the same shape.
        target: m*, of the same shape.

    Returns:
        (θ_conv, θ_skip); (0.5, 0.5) if neither varies around the target, since every mixture is optimal then.

    >>> target = torch.zeros(4, dtype=torch.float64)
    >>> optimal_mixture(torch.tensor([2.0, -2.0, 2.0, -2.0]), torch.tensor([1.0, 1.0, -1.0, -1.0]), target)
    (0.2, 0.8)
    """
    around_convolution = float(torch.var(convolution.double() - target.double(), correction=0))
    around_skip = float(torch.var(skip.double() - target.double(), correction=0))
    total = around_convolution + around_skip
    if total == 0:
        return 0.5, 0.5
    return around_skip / total, around_convolution / total
