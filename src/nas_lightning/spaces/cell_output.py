"""The output of a search cell as the next two cells read it, without joining its nodes.

Both cells begin with a ReLU and 1×1 convolutions of the joined nodes. The ReLU is the same for both, and a product of
joined channels is the sum of the nodes' products:

    [x_1 … x_K]·Pᵀ = Σ_k x_k·P_kᵀ        with P = [P_1 … P_K]

so the fast engine rectifies each node once and never writes the joined image, the largest of a cell, nor its gradient.
Shapes: B images, C channels of a cell, K nodes of C_k channels, N = B·H·W pixels.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.spaces.depthwise import even_and_odd
from nas_lightning.spaces.known_operations import is_hooked, is_known, is_plain_norm
from nas_lightning.spaces.macro import Preprocess
from nas_lightning.spaces.matrices import by_hand, image, rows
from nas_lightning.spaces.normed_sums import Term, normed_sum
from nas_lightning.spaces.operations import FactorizedReduce, Pointwise

T = TypeVar("T")


class CellOutput:
    """The nodes that make the output of a cell, and what is derived from them, each computed at its first use.

    Args:
        nodes: K images, each [B, C_k, H, W].
    """

    def __init__(self, nodes: Sequence[Tensor]) -> None:
        self.nodes = list(nodes)
        self._cache: dict[Hashable, object] = {}

    @property
    def joined(self) -> Tensor:
        """The nodes as one image, [B, Σ C_k, H, W]."""
        return self._once("joined", lambda: self.nodes[0] if len(self.nodes) == 1 else torch.cat(self.nodes, dim=1))

    @property
    def relu(self) -> list[Tensor]:
        """ReLU of each node."""
        return self._once("relu", lambda: [F.relu(x) for x in self.nodes])

    @property
    def even_and_odd(self) -> tuple[list[Tensor], list[Tensor]]:
        """Even rows and columns of the ReLU of each node, and odd ones, each [B, C_k, H/2, W/2]."""

        def compute() -> tuple[list[Tensor], list[Tensor]]:
            even, odd = zip(*map(even_and_odd, self.relu), strict=True)
            return list(even), list(odd)

        return self._once("even and odd", compute)

    def _once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the result of the first call with this key."""
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]  # type: ignore[return-value]


def preprocess(module: Preprocess, before: CellOutput, last: CellOutput) -> list[Tensor]:
    """Bring the outputs of cells k-2 and k-1 to nodes 0 and 1, each [B, C, H, W], equal to `module` up to rounding."""
    if is_hooked(module):
        return module(before.joined, last.joined)
    return [_preprocess_one(module.before, before), _preprocess_one(module.last, last)]


def _preprocess_one(operation: Any, output: CellOutput) -> Tensor:
    """Apply a ReLU, 1×1 convolutions and a normalisation."""
    if is_hooked(operation) or not all(map(by_hand, output.nodes)):
        return operation(output.joined)
    if _is_known_reduction(operation):
        even, odd = output.even_and_odd
        z = torch.cat([_product(even, operation.conv_1.weight), _product(odd, operation.conv_2.weight)], dim=1)
        return image(normed_sum([Term(z, operation.norm)]), z.shape)
    if _is_known_projection(operation):
        z = _product(output.relu, operation[1].weight)
        return image(normed_sum([Term(z, operation[2])]), z.shape)
    return operation(output.joined)


def _is_known_reduction(operation: Any) -> bool:
    """Check whether an operation is a `FactorizedReduce` that nobody has changed."""
    return (
        type(operation) is FactorizedReduce
        and is_plain_norm(operation.norm)
        and all(type(part) is nn.Conv2d and not is_hooked(part) for part in (operation.conv_1, operation.conv_2))
    )


def _is_known_projection(operation: Any) -> bool:
    """Check whether an operation is a ReLU, a 1×1 convolution of stride 1 and a plain normalisation."""
    if type(operation) is not nn.Sequential or len(operation) != 3 or not is_known(operation):
        return False
    return isinstance(operation[0], nn.ReLU) and type(operation[1]) is Pointwise and operation[1].stride == (1, 1)


def _product(xs: Sequence[Tensor], kernel: Tensor) -> Tensor:
    """Apply a 1×1 convolution [C, Σ C_k, 1, 1] to images whose channels are not joined; [B, C, H, W]."""
    return image(_JoinedProduct.apply(kernel.flatten(1), *map(rows, xs)), xs[0].shape)


class _JoinedProduct(torch.autograd.Function):
    """(kernel [C, Σ C_k], K matrices [N, C_k]) → Σ_k x_k·P_kᵀ [N, C]: no partial sum is kept."""

    @staticmethod
    def forward(ctx: Any, kernel: Tensor, *xs: Tensor) -> Tensor:
        ctx.save_for_backward(kernel, *xs)
        parts = kernel.split([x.shape[1] for x in xs], dim=1)
        total = xs[0] @ parts[0].T
        for x, part in zip(xs[1:], parts[1:], strict=True):
            total.addmm_(x, part.T)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kernel, *xs = ctx.saved_tensors
        needs_kernel, *needs_inputs = ctx.needs_input_grad
        parts = kernel.split([x.shape[1] for x in xs], dim=1)
        grad_kernel = torch.cat([grad.T @ x for x in xs], dim=1) if needs_kernel else None
        return grad_kernel, *[grad @ part if needed else None for part, needed in zip(parts, needs_inputs, strict=True)]
