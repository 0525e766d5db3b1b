"""Small pure helpers on modules."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def frozen_batch_stats(module: nn.Module) -> Iterator[None]:
    """Within the block, train-mode batch normalisation uses batch statistics and moves no buffer.

    The running statistics are not even handed to the kernel, so they stay bit-identical and the forward pass is a
    pure function: it can be repeated, differentiated twice and put under torch.func transforms.
    """
    training = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    for norm in training:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in training:
            norm.track_running_stats = True


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within the block the module is in evaluation mode; afterwards each part is in the mode it was in."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


def count_parameters(module: nn.Module, auxiliary: bool = False) -> int:
    """Number of weights, without the auxiliary head unless asked for; architecture parameters are never inside."""
    return sum(p.numel() for name, p in module.named_parameters() if auxiliary or not name.startswith("auxiliary"))
