"""Small pure helpers on modules."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

_plain: ContextVar[bool] = ContextVar("plain_autograd", default=False)
_stands_for_cpu: ContextVar[bool] = ContextVar("stands_for_cpu", default=False)


@contextmanager
def meta_as_cpu(as_cpu: bool = True) -> Iterator[None]:
    """Compute on `meta` within the block as it is computed on the CPU, where that depends on the device."""
    token = _stands_for_cpu.set(as_cpu)
    try:
        yield
    finally:
        _stands_for_cpu.reset(token)


def computes_as_cpu(device: torch.device) -> bool:
    """Return whether a device is the CPU, or `meta` in a block of `meta_as_cpu`."""
    return device.type == "cpu" or (device.type == "meta" and _stands_for_cpu.get())


@contextmanager
def plain_autograd() -> Iterator[None]:
    """Use torch's own operators only in forward passes within the block, for callers that differentiate twice.

    Hand-written gradients can be differentiated, too, but the plain formula is then computed a second time.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def autograd_is_plain() -> bool:
    """Return whether a block of `plain_autograd` is open."""
    return _plain.get()


def autocast_of(kind: str) -> torch.dtype | None:
    """Return the type that autocast now computes in on a device type; None where it is off, or is none (`meta`)."""
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def without_autocast(kind: str) -> AbstractContextManager[Any]:
    """Leave autocast on a device type, as backward passes do that take the types of their forward passes."""
    return torch.autocast(kind, enabled=False) if autocast_of(kind) else nullcontext()


@contextmanager
def full_precision(*kinds: str) -> Iterator[None]:
    """Compute in the precision of the tensors within the block: no autocast and, on a GPU, no TF32.

    TF32, torch's default for convolutions on a GPU, rounds to 1e-3; second derivatives, as differences of gradients,
    drown in that error. Torch's older flag, `allow_tf32`, cannot be read within the block.

    Args:
        kinds: Device types whose autocast is disabled, such as "cuda".
    """
    cudnn: Any = torch.backends.cudnn
    operators: list[Any] = [cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul]
    before = [operator.fp32_precision for operator in operators]
    with ExitStack() as stack:
        for kind in filter(torch.amp.is_autocast_available, kinds):  # `meta` has none
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
    """Let train-mode batch normalisation use batch statistics without moving a buffer within the block.

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
    """Put the module in evaluation mode within the block; restore the mode of each submodule afterwards."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


@contextmanager
def training(module: nn.Module) -> Iterator[None]:
    """Put the module in training mode within the block; restore the mode of each submodule afterwards."""
    evaluated = [m for m in module.modules() if not m.training]
    module.train()
    try:
        yield
    finally:
        for m in evaluated:
            m.training = False


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Put the module in evaluation mode within the block, but normalise by the statistics of the batch.

    For a supernet whose mixing weights differ from those it was trained with, so that its running statistics do not fit
    (as in the released DARTS-PT code, which moves them, too). No buffer moves.
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
    """Return the number of weights, with the auxiliary head only on request; architecture parameters do not count."""
    return sum(p.numel() for name, p in module.named_parameters() if auxiliary or not name.startswith("auxiliary"))


@torch.no_grad()
def count_macs(network: nn.Module, in_channels: int, image_size: int) -> int:
    """Count the multiply-accumulates of one image in convolutions and linear layers, in evaluation mode."""
    device = next(network.parameters()).device
    return macs_of(network, torch.zeros(1, in_channels, image_size, image_size, device=device))


@torch.no_grad()
def macs_of(network: nn.Module, inputs: Any) -> int:
    """Count the multiply-accumulates of inputs in convolutions and linear layers, in evaluation mode.

    Args:
        network: The network.
        inputs: Inputs of a single image, column or pair, on the device of the network.
    """
    mode = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter:
        network(inputs)
    network.train(mode)
    return counter.get_total_flops() // 2
