"""The operators of a section that is captured: noted, compared, and refused where a CUDA graph cannot hold them."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Call = tuple[str, Any]
"""Name of an operator, and its arguments without the values of tensors."""

READS = frozenset(
    {
        *("_local_scalar_dense", "item", "is_nonzero", "equal", "allclose"),
        *("nonzero", "nonzero_static", "masked_select", "bincount", "histc"),
        *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "repeat_interleave"),
    }
)
"""Operators whose result, or its shape, the host must read from the device before it can go on."""
FROM_PYTHON = frozenset({"lift_fresh", "lift_fresh_copy", "lift"})
"""What makes a tensor of Python's numbers (`torch.tensor`): a copy from the host, of numbers that stay as they are."""
INDEXES = frozenset({"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"})


class CaptureError(RuntimeError):
    """A section that cannot be captured, or that is not the one that was captured."""


class Trace(TorchDispatchMode):
    """Notes the operators within its block.

    Attributes:
        calls: The operators in their order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator that a graph can hold.

        Raises:
            CaptureError: A graph cannot hold it.
        """
        kwargs = kwargs or {}
        reason = refusal(func, args, kwargs)
        if reason is not None:
            raise CaptureError(reason)
        self.calls.append((str(func), (_described(args), _described(tuple(sorted(kwargs.items()))))))
        return func(*args, **kwargs)

    def compare(self, captured: list[Call]) -> None:
        """Refuse what differs from what was captured.

        Raises:
            CaptureError: An operator or one of its arguments differs.
        """
        for place, (new, old) in enumerate(zip_longest(self.calls, captured)):
            if new != old:
                raise CaptureError(f"operator {place} of the section is {new}, and {old} was captured")


def refusal(func: Any, args: Any, kwargs: Any) -> str | None:
    """Return why a CUDA graph cannot hold an operator, in one line; None if it can."""
    name = func._schema.name.rpartition("::")[2]
    if name in READS:
        return f"{name} reads the device"
    if name in FROM_PYTHON:
        return "a tensor is made of Python's numbers"
    tensors = list(_tensors((args, tuple(kwargs.values()))))
    if name in INDEXES and any(t.dtype in (torch.bool, torch.uint8) for t in _tensors(args[1])):
        return f"{name} by a mask reads the device"
    if torch.Tag.nondeterministic_seeded in func.tags and name != "native_dropout_backward":
        return f"{name} draws random numbers, not through draws.outside"
    devices = {t.device.type for t in tensors}
    if name in ("_to_copy", "copy_", "_copy_from") or tensors:
        wanted = kwargs.get("device")
        devices |= set() if wanted is None else {torch.device(wanted).type}
    if len(devices) > 1:
        return f"{name} needs tensors of {' and '.join(sorted(devices))}"
    return None


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)


def _described(value: Any) -> Any:
    """Replace tensors by what a graph freezes of them; the rest is frozen as it is."""
    if isinstance(value, Tensor):
        return (tuple(value.shape), tuple(value.stride()), value.dtype, value.device.type)
    if isinstance(value, (list, tuple)):
        return tuple(map(_described, value))
    return value
