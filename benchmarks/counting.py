"""Count what a program launches on a device: operators that compute, the kernels behind them, the bytes they move.

Operators are counted exactly, on any device, also on `meta`, where tensors have shapes and no numbers. Kernels are an
estimate of what CUDA would launch, from the table below. Bytes are those of all inputs and outputs: an upper bound of
the traffic to memory, since a cache may hold some of them. Views, metadata and allocations launch nothing.

Also found: numbers that the host reads from the device, for which it waits, and copies between devices.
"""

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Inputs = Sequence[Any]
"""Arguments of an operator, as its schema orders them; those at their defaults may be missing at the end."""

# Kernels behind an operator -------------------------------------------------------------------------------------------
# On CUDA in float32 with NCHW images, TF32 convolutions (torch's default) and batch normalisation without affine
# parameters, as supernets have it. Everything else is one kernel. Read from ATen's sources (torch 2.11, the folder
# aten/src/ATen/native/cuda unless said) and, for cuDNN, from a profile on an H100: a first-order step of the space
# `darts` launches 42,699 kernels with the reference, classical step, and 29,392 with the fast engine of 2026-11-27.

_CHUNK, _BLOCKS, _TENSORS = 65536, 320, {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
"""MultiTensorApply.cuh: elements of a block, blocks of a kernel, and tensors of a kernel by the number of lists."""


def _is_depthwise(x: Tensor, groups: int) -> bool:
    return groups == x.shape[1] > 1


def _convolution(inputs: Inputs) -> int:
    """DepthwiseConv2d.cu is one kernel; cuDNN's on tensor cores are a change of layout and a product (profile)."""
    x, groups = inputs[0], inputs[8]
    return 1 if _is_depthwise(x, groups) else 2


def _convolution_backward(inputs: Inputs) -> int:
    """As forward, for images and weights each; cuDNN sums the weights' gradient in a third kernel (profile)."""
    x, groups, (for_input, for_weight, _) = inputs[1], inputs[9], inputs[10]
    return for_input + for_weight if _is_depthwise(x, groups) else 2 * for_input + 3 * for_weight


def _batch_norm(inputs: Inputs) -> int:
    """Normalization.cuh: moments, their inverse root (and the running ones), the transform; the last in evaluation."""
    return 3 if inputs[5] else 1


def foreach_kernels(lists: Sequence[Sequence[Tensor]]) -> int:
    """Count the kernels of an operator on lists of tensors of equal length, by the rule of MultiTensorApply.cuh.

    A kernel is launched when it holds as many tensors or as many blocks as it can, and at the end.
    """
    most = _TENSORS[min(len(lists), max(_TENSORS))]
    kernels = tensors = blocks = 0
    for x in lists[0]:
        if not x.numel():
            continue
        tensors += 1
        chunks = -(-x.numel() // _CHUNK)
        for chunk in range(1, chunks + 1):
            blocks += 1
            last = chunk == chunks
            if blocks == _BLOCKS or (tensors == most and last):
                kernels += 1
                tensors, blocks = 0 if last else 1, 0  # what is left of a tensor goes into the next kernel
    return kernels + (blocks > 0)


KERNELS: dict[str, Callable[[Inputs], int]] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit": lambda inputs: 3,
    "_native_batch_norm_legit_no_training": lambda inputs: 1,
}
"""Operators that are not one kernel, nor a kernel for each share of a list of tensors."""

_ALLOCATIONS = {
    *("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "_unsafe_view", "resize_", "set_"),
}
"""Besides views: what launches nothing."""
_READS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "unique_dim", "bincount"}
"""The host waits for a number, or for the size of the result."""
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


def _kernels(name: str, inputs: Inputs, results: list[Tensor], in_place: bool) -> int:
    if name.startswith(("_foreach_", "_fused_")):
        lists = [x for x in inputs if isinstance(x, list | tuple) and x and isinstance(x[0], Tensor)]
        return foreach_kernels(lists if in_place or not results else [*lists, results])
    return KERNELS.get(name, lambda inputs: 1)(inputs)


# Counting -------------------------------------------------------------------------------------------------------------


@dataclass
class Launches:
    """What was launched."""

    operators: int = 0
    kernels: int = 0
    bytes: int = 0


class Counting(TorchDispatchMode):
    """Counts what is launched on a device within its block.

    Args:
        device: Type of the device; what the host computes elsewhere is not counted.

    Attributes:
        phases: What was launched in each phase; see `phase`.
        operators: How often each operator was called.
        reads: Where the host has waited for the device, and how often.
        copies: Where a tensor has gone to the device or from it, and how often.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.phases: dict[str, Launches] = {}
        self.operators: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self._phase = ""
        self._literals = _Literals(self)

    def __enter__(self) -> "Counting":
        """Count from here on."""
        self._literals.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        """Stop counting."""
        super().__exit__(*raised)
        self._literals.__exit__(*raised)

    @property
    def total(self) -> Launches:
        """What was launched in all phases."""
        found = self.phases.values()
        return Launches(*(sum(getattr(x, name) for x in found) for name in ("operators", "kernels", "bytes")))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name what is launched within the block; gradients that autograd computes get ` backward` added."""
        before, self._phase = self._phase, name
        try:
            yield
        finally:
            self._phase = before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call an operator and count it."""
        name = func._schema.name.partition("::")[2]
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if name in _READS and self._here(inputs):
            self.reads[_place()] += 1  # before the call, which `meta` refuses
        result = func(*args, **(kwargs or {}))
        results = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        if self._here([*inputs, *results]):
            self._count(func, name, args, inputs, results)
        return result

    def _here(self, tensors: Sequence[Tensor]) -> bool:
        return any(x.device.type == self.device for x in tensors)

    def _count(self, func: Any, name: str, args: Inputs, inputs: list[Tensor], results: list[Tensor]) -> None:
        if self._crosses(name, inputs, results):
            self.copies[_place()] += 1
        elif name in _INDEXING and any(x.dtype in (torch.bool, torch.uint8) for x in _indices(args)):
            self.reads[_place()] += 1  # the places of a mask are counted first
        if func.is_view or name in _ALLOCATIONS or name in _READS:
            return
        phase = f"{self._phase} backward".strip() if torch._C._current_graph_task_id() != -1 else self._phase
        launches = self.phases.setdefault(phase, Launches())
        launches.operators += 1
        launches.kernels += _kernels(name, args, results, func._schema.is_mutable)
        launches.bytes += sum(x.numel() * x.element_size() for x in [*inputs, *results])
        self.operators[name] += 1

    def _crosses(self, name: str, inputs: list[Tensor], results: list[Tensor]) -> bool:
        """Check for a copy between devices; a number of the host in arithmetic is an argument of the kernel."""
        numbers_go = name in ("_to_copy", "copy_", "_copy_from")
        return len({x.device for x in [*inputs, *results] if numbers_go or x.dim() or x.device.type == self.device}) > 1


class _Literals(TorchFunctionMode):
    """Notes tensors that are made from Python's numbers: a copy from the host that no operator shows."""

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.counting = counting

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch."""
        result = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
            data = args[1] if func is Tensor.new_tensor else args[0]
            if self.counting.device == result.device.type != "cpu" and not isinstance(data, Tensor):
                self.counting.copies[_place()] += 1
        return result


def _indices(args: Inputs) -> list[Tensor]:
    return [x for x in args[1] if x is not None]


def _place() -> str:
    """Return file and line of the innermost caller that is no library and not this file."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path != Path(__file__) and not {"site-packages", "dist-packages"} & set(path.parts):
            if "nas_lightning" in path.parts:
                path = Path(*path.parts[len(path.parts) - path.parts[::-1].index("nas_lightning") :])
            return f"{path}:{frame.lineno}"
    return "?"
