"""The forward passes of a supernet in a search, by CUDA graphs where `graph` allows it.

The mixing weights are the boundary of the graphs: architecture parameters, relaxation, decisions and perturbation stay
in eager code, and so do the loss and the optimizers. What an estimator, a perturbation, validation or a selector asks
for is therefore one of a few passes, which differ in the gradients that are taken and in the modes of normalisations.

A graph holds the options that decisions leave open. A drawn path (GDAS, RS-ws) or a mask of a selector (DARTS-PT) opens
fewer, others in every pass: the graph then computes all, with weight 0 for those that are not active. To be exact,
their running statistics stay where they were, and their weights get no gradient, so the optimizer leaves them alone.
What weights of 0 cannot say is eager; see `_reason_of_path`. One thing differs: an option that is not drawn must be
finite, because 0 times infinity is not 0.
Shapes: B images, R rows and O options of a choice.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from nas_lightning.capture import Graphed, Policy, statements
from nas_lightning.capture.graphs import Graphs, graphs_on, has_graphs
from nas_lightning.capture.policy import Setting, reason_of_device, reason_of_processes, reason_of_regularizer
from nas_lightning.core import ranks
from nas_lightning.core.batches import Inputs
from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Mixing, offset_key
from nas_lightning.core.placed import placed
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.spaces.mixed import MixedOperation
from nas_lightning.spaces.operations import Zero

IMAGES = "images"
_PREFIX = "mixing "
Flags = dict[str, tuple[tuple[bool, ...], ...]]
"""Which options, by choice, [R][O]."""


class SupernetPasses:
    """Computes passes of a supernet.

    Args:
        supernet: Maps images, mixing weights and active options to logits.
        regularizers: The parts that act inside it.
        decided: Returns the options that decisions leave open, None for all.
        setting: `off`, `auto`, or `required`, which makes a reason against graphs an error.

    Attributes:
        policy: Whether passes are captured, and why not.
    """

    def __init__(
        self,
        supernet: nn.Module,
        regularizers: Sequence[Regularizer],
        decided: Callable[[], Active | None],
        setting: Setting = "off",
    ) -> None:
        self.supernet = supernet
        self.policy = Policy(setting, "graph")
        self._regularizers = tuple(regularizers)
        self._decided = decided
        self._graphed = Graphed(self._compute, supernet, self.policy)
        self._edges = [m for m in supernet.modules() if isinstance(m, MixedOperation)]
        self._choices = {edge.edge.choice for edge in self._edges}
        self._bypassing = any(edge.partial_channels > 1 for edge in self._edges)
        self._current: Flags | None = None
        self._active: Active | None = None
        self._released: list[nn.Module] = []
        self._operations = sorted({name for edge in self._edges for name in edge.names})
        if self.policy.reason is None:
            self.policy.refuse_any([*map(reason_of_regularizer, self._regularizers)])

    def __call__(
        self,
        images: Inputs,
        mixing: Mixing,
        active: Active | None = None,
        weights: Tensors | None = None,
        frozen: bool = False,
    ) -> Any:
        """Compute the outputs of the mixture.

        Args:
            images: [B, channels, H, W], or other inputs of `core.batches`, which are never captured.
            mixing: Mixing weights by choice, each [R, O].
            active: Options that are computed, boolean [R, O] by choice; None for all.
            weights: Weights by name that replace those of the supernet.
            frozen: Take no gradients of the weights.

        Returns:
            Logits [B, classes], or other outputs of `core.batches`.

        Raises:
            ConfigError: A graph is required, and something stands against it.
        """
        self._released = []
        if not self._captures(images) or not isinstance(images, Tensor):
            return self._eager(images, mixing, active, weights, frozen)
        decided = self._decided()
        opened = None if decided is None else self._flags(decided)
        flags = opened if active is None else self._flags(active)  # read from the device once
        closed = list(self._closed(flags, opened))
        if closed:
            assert active is not None
            assert flags is not None
            learns = weights is None and not frozen and torch.is_grad_enabled()
            bypassed = self._bypassing or any(offset_key(name) in mixing for name in self._choices)
            reason = self._reason_of_path(flags, opened, learns, bypassed)
            if reason is not None:
                self.policy.skip(reason)
                return self._eager(images, mixing, active, weights, frozen)
            self._released = closed if learns else []
            mixing = mixing | {n: mixing[n] * placed(active[n], mixing[n].device) for n in self._choices}
        moving = [norm for norm in _norms(closed) if norm.training and norm.track_running_stats]
        buffers = [buffer for norm in moving for buffer in norm.buffers()]
        before = [buffer.clone() for buffer in buffers]
        if opened != self._current:  # decisions do not come back, but for a rollback
            self._current, self._active = opened, decided
            self._graphed.renew()
        outputs = self._graphed(
            {IMAGES: images, **{_PREFIX + name: value for name, value in mixing.items()}},
            weights,
            (statements(self._regularizers, self._operations), None if opened is None else tuple(opened.items())),
            frozen,
        )
        assert isinstance(outputs, Tensor)
        if buffers:
            torch._foreach_copy_([buffer.data for buffer in buffers], before)
        return outputs

    def _captures(self, images: Inputs) -> bool:
        """Return whether passes on such inputs are captured, and record why not."""
        if self.policy.reason is None and not isinstance(images, Tensor):
            self.policy.refuse("inputs that are not images")
        elif self.policy.reason is None and isinstance(images, Tensor):
            self.policy.refuse_any([reason_of_device(images.device), reason_of_processes(ranks.count())])
        return self.policy.reason is None

    def release(self) -> None:
        """Take the gradients of the last pass from the weights of options that were not active in it."""
        for operation in self._released:
            for parameter in operation.parameters():
                parameter.grad = None

    def graphs(self) -> Graphs | None:
        """Return what makes graphs for other functions of the supernet; None where nothing is captured."""
        device = next(self.supernet.parameters()).device
        return graphs_on(device) if self.policy.reason is None and has_graphs(device) else None

    def _eager(
        self, images: Inputs, mixing: Mixing, active: Active | None, weights: Tensors | None, frozen: bool
    ) -> Any:
        if frozen:
            everything = {**dict(self.supernet.named_parameters()), **(weights or {})}
            weights = {name: weight.detach() for name, weight in everything.items()}
        if weights is None:
            return self.supernet(images, mixing, active)
        return functional_call(self.supernet, weights, (images, mixing, active))

    def _compute(self, weights: Any, inputs: Any, options: Any) -> Tensor:
        mixing = {name.removeprefix(_PREFIX): value for name, value in inputs.items() if name != IMAGES}
        outputs: Tensor = functional_call(self.supernet, dict(weights), (inputs[IMAGES], mixing, self._active))
        return outputs

    def _flags(self, active: Active) -> Flags:
        return {name: tuple(map(tuple, active[name].tolist())) for name in sorted(self._choices)}

    def _reason_of_path(self, active: Flags, opened: Flags | None, learns: bool, bypassed: bool) -> str | None:
        """Return why weights of 0 would not do for options that are not active; None if they do.

        Args:
            active: Options that are active.
            opened: Options that decisions leave open; None for all.
            learns: Whether gradients of the weights are taken for an optimizer.
            bypassed: Whether something but the operations enters the sum of an edge: channels or an offset.
        """
        if learns and any(True for part in self._regularizers for _ in part.parameters()):
            return "a drawn path, and a regularizer that learns"
        for edge in self._edges:
            choice, row = edge.edge.choice, edge.edge.row
            on = [op for kept, op in zip(active[choice][row], edge.operations, strict=False) if kept]
            if not on and (opened is None or any(opened[choice][row])) and (bypassed or self._regularizers):
                return "an edge that a mask empties"  # what bypasses its operations, and its hooks, go with it
            if learns and all(isinstance(operation, Zero) for operation in on):
                return "a drawn path holds `none`"  # which may cut other weights off from the loss
        return None

    def _closed(self, active: Flags | None, opened: Flags | None) -> Iterator[nn.Module]:
        """Yield the operations that decisions leave open and that are not active; None stands for all."""
        for edge in self._edges if active is not None and active != opened else ():
            assert active is not None
            choice, row = edge.edge.choice, edge.edge.row
            for option, operation in enumerate(edge.operations):
                if not active[choice][row][option] and (opened is None or opened[choice][row][option]):
                    yield operation


def _norms(modules: Sequence[nn.Module]) -> Iterator[_BatchNorm]:
    return (m for module in modules for m in module.modules() if isinstance(m, _BatchNorm))
