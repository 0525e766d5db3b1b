"""Hessian-vector products in the architecture parameters, all through one gradient graph.

Shapes: P architecture parameters in all, their tensors flattened row-major and concatenated.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nas_lightning.capture.graphs import Graphs
from nas_lightning.capture.repeated import Repeated
from nas_lightning.core.bilevel import Reduce
from nas_lightning.core.functional import frozen_batch_stats, full_precision, plain_autograd

log = logging.getLogger(__name__)

Arch = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""Architecture parameters: by choice, or in a sequence, or a single tensor."""
LossOfArch = Callable[[Any], Tensor]
"""Architecture parameters, in the structure in which they were passed, → scalar loss of one fixed batch."""


def _tensors(arch: Arch) -> list[Tensor]:
    if isinstance(arch, Tensor):
        return [arch]
    return list(arch.values() if isinstance(arch, Mapping) else arch)


def _in_structure_of(arch: Arch, tensors: list[Tensor]) -> Arch:
    if isinstance(arch, Tensor):
        return tensors[0]
    if isinstance(arch, Mapping):
        return dict(zip(arch, tensors, strict=True))
    return tuple(tensors) if isinstance(arch, tuple) else tensors


def _flat(x: Tensor) -> Tensor:
    return x.detach().flatten().to("cpu").double()


def _product(gradients: list[Tensor], leaves: list[Tensor], seeds: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Return the product of the Hessian with `seeds`, tensor by tensor of the architecture parameters."""
    return torch.autograd.grad(gradients, leaves, seeds, retain_graph=True, allow_unused=True)


class HessianProducts:
    """The Hessian as an operator: each product is one backward pass through the same gradient.

    Args:
        gradients: Gradient with respect to each of `leaves`, with its graph; None if the loss does not depend on it.
        leaves: Architecture parameters.
        reduce: Averages tensors over the processes of a distributed run.
        graphs: Replays products by a graph, from the second on; None computes all of them eagerly.
    """

    def __init__(
        self,
        gradients: list[Tensor | None],
        leaves: list[Tensor],
        reduce: Reduce = lambda tensors: tensors,
        graphs: Graphs | None = None,
    ) -> None:
        self.leaves = leaves
        self.reduce = reduce
        self.size = sum(leaf.numel() for leaf in leaves)
        """Number P of architecture parameters."""
        self.count = 0
        """Products so far; each row of the Hessian counts as one."""
        # The mean over the processes commutes with differentiation: averaging each product gives H of the mean loss.
        found = [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(gradients, leaves, strict=True)]
        self.gradient = torch.cat([_flat(g) for g in reduce([g.detach() for g in found])])
        """∇_α L, [P] in float64 on the CPU."""
        # A gradient without a graph is constant: its rows of the Hessian are zero.
        self._curved = [i for i, g in enumerate(gradients) if g is not None and g.requires_grad]
        self._gradients: list[Tensor] = [g for g in gradients if g is not None and g.requires_grad]
        # Not a method: bound to this object it would be a cycle, which keeps the gradient's graph in memory.
        single = partial(_product, self._gradients, leaves)
        self._single = single if graphs is None else Repeated(single, graphs)

    @property
    def epsilon(self) -> float:
        """Return the relative rounding error of the least precise architecture parameter."""
        return max(torch.finfo(leaf.dtype).eps for leaf in self.leaves)

    def __call__(self, vector: Tensor) -> Tensor:
        """Return H·v for v [P]; both in float64 on the CPU."""
        return self._rows(vector[None], batched=False)[0]

    def rows(self, chunk: int) -> Tensor:
        """Return H, [P, P] in float64 on the CPU, from `chunk` rows in one backward pass if the operators allow it."""
        identity = torch.eye(self.size, dtype=torch.float64)
        found: list[Tensor] = []
        done = 0
        while done < self.size:
            part = identity[done : done + chunk]
            try:
                found.append(self._rows(part, batched=chunk > 1))
            except RuntimeError as error:  # some operators cannot be batched, or the memory is too small for it
                if chunk == 1:
                    raise
                log.debug("the Hessian is computed row by row from here on: %s", error)
                chunk = 1
            else:
                done += len(part)
        return torch.cat(found)

    def _rows(self, vectors: Tensor, batched: bool) -> Tensor:
        """Return N products, [N, P] → [N, P]; N is 1 unless the backward pass is batched."""
        parts = vectors.split([leaf.numel() for leaf in self.leaves], dim=1)
        seeds = []
        for i in self._curved:
            leaf = self.leaves[i]
            shape = (len(vectors), *leaf.shape) if batched else leaf.shape
            seeds.append(parts[i].to(leaf.dtype).to(leaf.device).reshape(shape))
        found: Sequence[Tensor | None] = (None,) * len(self.leaves)
        if seeds and batched:
            found = torch.autograd.grad(
                self._gradients, self.leaves, seeds, retain_graph=True, allow_unused=True, is_grads_batched=True
            )
        elif seeds:
            found = self._single(seeds)
        self.count += len(vectors)
        rows = self.reduce(
            [
                leaf.new_zeros((len(vectors), leaf.numel())) if h is None else h.detach().reshape(len(vectors), -1)
                for leaf, h in zip(self.leaves, found, strict=True)
            ]
        )
        return torch.cat(rows, dim=1).to("cpu").double()


def _restore(buffers: list[tuple[Tensor, Tensor]]) -> None:
    """Restore buffers that the loss changed; batch normalisation is frozen, so they belong to other layers.

    Unchanged buffers are not written: autograd would take a write for a modification.
    """
    with torch.no_grad():
        for buffer, before in buffers:
            if not torch.equal(buffer, before):
                buffer.copy_(before)


@contextmanager
def hessian_products(
    loss_of_arch: LossOfArch,
    arch: Arch,
    module: nn.Module | None,
    reduce: Reduce = lambda tensors: tensors,
    graphs: Graphs | None = None,
) -> Iterator[HessianProducts]:
    """Provide the Hessian at `arch` as an operator within the block; its graph is freed at the end.

    The loss is evaluated once, in its own precision (no autocast, no TF32) and at copies of the architecture
    parameters, so all products see the same random draws. The buffers of `module`, torch's global random numbers and
    the architecture parameters are restored at the end. With `reduce` it is the Hessian of the mean loss over the
    processes of a distributed run.

    Raises:
        ValueError: There are no architecture parameters.
    """
    given = _tensors(arch)
    if not sum(a.numel() for a in given):
        raise ValueError("there are no architecture parameters to differentiate by")
    states = [*given, *(module.parameters() if module else ()), *(module.buffers() if module else ())]
    devices = sorted({t.device.index for t in states if t.is_cuda})
    with ExitStack() as stack:
        # The loss may draw random numbers: a search that is measured must continue with the draws of one that is not.
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(plain_autograd())
        stack.enter_context(full_precision(*{a.device.type for a in given}))
        if module is not None:
            stack.enter_context(frozen_batch_stats(module))
            stack.callback(_restore, [(buffer, buffer.clone()) for buffer in module.buffers()])
        with nullcontext() if graphs is None else graphs.beside():
            # Copies, so that the caller's tensors get neither a graph nor a gradient, and may be frozen.
            leaves = [a.detach().clone().requires_grad_() for a in given]
            loss = loss_of_arch(_in_structure_of(arch, leaves))
            gradients: list[Tensor | None] = [None] * len(leaves)
            if loss.requires_grad:
                gradients = list(torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True))
        yield HessianProducts(gradients, leaves, reduce, graphs)
