"""Call a module without keeping what its backward pass needs: that is computed again when it is asked for.

Chen et al., Training deep nets with sublinear memory cost (2016), by torch's `checkpoint`. What torch leaves to the
caller is done here, because a search calls a supernet in many ways: the second computation takes the weights of the
first, which `functional_call` may have replaced; the modes of its normalisations; the keys of its draws and whatever
else a context variable holds; and it moves no running statistics a second time. So values, gradients and statistics are
those of the plain call. Gradients can be differentiated again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


class _Segment(nn.Module):
    """A module and the modules outside it that it calls: `functional_call` replaces the weights of all."""

    def __init__(self, module: nn.Module, called: Sequence[nn.Module]) -> None:
        super().__init__()
        self.module = module
        self.called = nn.ModuleList(called)

    def forward(self, *args: Any) -> Tensor:
        output: Tensor = self.module(*args)
        return output


def recomputed(module: nn.Module, *args: Any, called: Sequence[nn.Module] = ()) -> Tensor:
    """Return `module(*args)`, and call it again in the backward pass for what that needs.

    Args:
        module: Returns one tensor, equal ones in both calls. It draws by `core.draws` or from torch's global generator.
        args: Tensors, or anything that holds tensors; gradients of all are taken.
        called: Modules outside it that it calls.

    Raises:
        RuntimeError: In the backward pass, if weights have changed in place since.
    """
    if not torch.is_grad_enabled():
        output: Tensor = module(*args)
        return output
    segment = _Segment(module, called)
    tensors = dict(segment.named_parameters(remove_duplicate=False))
    versions = [tensor._version for tensor in tensors.values()]
    buffers = dict(segment.named_buffers())
    modes = [(part, part.training, getattr(part, "track_running_stats", None)) for part in segment.modules()]
    context = copy_context()
    calls = 0

    def again(*inputs: Any) -> Tensor:
        if versions != [tensor._version for tensor in tensors.values()]:
            raise RuntimeError("weights have changed between the call of a module and its backward pass")
        # Statistics of copies move, so that the same operators run as in the first call.
        kept = {name: buffer.clone() for name, buffer in buffers.items()}
        with _in_modes(modes):
            output: Tensor = functional_call(segment, {**tensors, **kept}, inputs)
        return output

    def compute(*inputs: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 1:
            return segment(*inputs)
        return context.copy().run(again, *inputs)  # a copy: a context cannot be entered twice at a time

    found: Tensor = checkpoint(compute, *args, use_reentrant=False)
    return found


@contextmanager
def _in_modes(modes: Sequence[tuple[nn.Module, bool, bool | None]]) -> Iterator[None]:
    """Restore the modes of modules within the block."""
    before = [(part, part.training, getattr(part, "track_running_stats", None)) for part, *_ in modes]
    _set(modes)
    try:
        yield
    finally:
        _set(before)


def _set(modes: Sequence[tuple[nn.Module, bool, bool | None]]) -> None:
    for part, training, tracks in modes:
        part.training = training
        if tracks is not None:
            part.track_running_stats = tracks  # type: ignore[assignment]
