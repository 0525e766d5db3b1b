"""Small pure helpers on modules."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

_plain: ContextVar[bool] = ContextVar("plain_autograd", default=False)


@contextmanager
def plain_autograd() -> Iterator[None]:
    """Within the block forward passes use torch's own operators only, for who differentiates their gradients again.

    Gradients by hand can be differentiated, too, but the plain formula is then computed a second time.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def autograd_is_plain() -> bool:
    """Whether such a block is open."""
    return _plain.get()


@contextmanager
def full_precision(*kinds: str) -> Iterator[None]:
    """Within the block numbers keep their own precision: no autocast and, on a GPU, no TF32.

    TF32, which torch takes for the convolutions of a GPU, rounds to 1e-3: what second derivatives are differences of.
    Torch's older spelling, `allow_tf32`, cannot be read within the block.

    Args:
        kinds: Kinds of devices whose autocast is left, such as "cuda".
    """
    cudnn: Any = torch.backends.cudnn
    operators: list[Any] = [cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul]
    before = [operator.fp32_precision for operator in operators]
    with ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(torch.autocast(kind, enabled=False))
        try:
            for operator in operators:
                operator.fp32_precision = "ieee"
            yield
        finally:
            for operator, precision in zip(operators, before, strict=True):
                operator.fp32_precision = precision


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


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Within the block the module is in evaluation mode, but batch normalisation takes the statistics of the batch.

    For a supernet with other mixing weights than it was trained with, whose running statistics do not fit (as in the
    released DARTS-PT code, which moves them, too). No buffer moves.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    with evaluating(module):
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        try:
            yield
        finally:
            for norm in norms:
                norm.training, norm.track_running_stats = False, True


def count_parameters(module: nn.Module, auxiliary: bool = False) -> int:
    """Number of weights, without the auxiliary head unless asked for; architecture parameters are never inside."""
    return sum(p.numel() for name, p in module.named_parameters() if auxiliary or not name.startswith("auxiliary"))


@torch.no_grad()
def count_macs(network: nn.Module, in_channels: int, image_size: int) -> int:
    """Multiply-accumulates of one image through convolutions and linear layers, in evaluation mode."""
    device = next(network.parameters()).device
    mode = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, in_channels, image_size, image_size, device=device))
    network.train(mode)
    return counter.get_total_flops() // 2
