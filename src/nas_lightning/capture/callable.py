"""A module's passes, each captured once and replayed whenever all that a graph freezes is as it was."""

import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from nas_lightning.capture.graphs import Graphs, graphs_on
from nas_lightning.capture.policy import Policy, reason_of_device, reason_of_module
from nas_lightning.capture.section import Memory, Outputs, Section
from nas_lightning.capture.structure import Structure, process_flags
from nas_lightning.capture.trace import CaptureError
from nas_lightning.core.functional import autograd_is_plain

log = logging.getLogger(__name__)

Tensors = Mapping[str, Tensor]
Function = Callable[[Tensors, Tensors, Any], Outputs]
"""(weights, inputs, options) → outputs."""
LIMIT = 50
"""Captures of one module, or since `renew`; more means that something in the key changes all the time."""


@dataclass(frozen=True)
class _Key:
    """What a graph freezes, but for the shapes of the inputs."""

    options: Hashable
    inputs: tuple[tuple[str, torch.dtype, torch.device], ...]
    gradients: tuple[bool, ...]
    weights: Hashable
    modes: Hashable
    flags: Hashable


class Graphed:
    """Computes a function of a module's weights and of further tensors, by graphs where the policy allows it.

    The results are those of eager code. Only the first shape of each kind of pass is captured: a smaller last batch is
    computed eagerly. A pass that is to be differentiated twice (`plain_autograd`), or that torch.func transforms, is
    eager, too. A replaced weight or buffer leads to a new capture; what copies into them (a rollback) does not.
    One difference: an output that no loss uses has a gradient of zeros, so the weights behind it have one, too.

    Args:
        function: The pass. It reads weights and inputs from its arguments only (`functional_call`), moves nothing but
            buffers of the module, draws through `core.draws`, and depends on nothing else that changes but on
            `options`, on modes of the module and on flags of torch's.
        module: The module whose weights and buffers it reads.
        policy: Whether to capture.
        limit: Captures after which everything is eager.
    """

    def __init__(self, function: Function, module: nn.Module, policy: Policy, limit: int = LIMIT) -> None:
        self._function = function
        self._module = module
        self._limit = limit
        self.policy = policy
        self._structure: Structure | None = None
        self._addresses: list[int] = []
        self._graphs: Graphs | None = None
        self._memory = Memory()
        self._sections: dict[tuple[_Key, Hashable], Section] = {}
        self._shapes: dict[_Key, Hashable] = {}
        self._captured: list[_Key] = []
        self._cause = ""
        self._count = 0

    def renew(self) -> None:
        """Forget all graphs on purpose: the passes from here on are others, and their captures are counted anew."""
        self.reset()
        self._count = 0

    def reset(self) -> None:
        """Forget all graphs, and free their memory."""
        self._sections.clear()
        self._shapes.clear()
        self._structure = self._graphs = None
        self._addresses = []

    def __call__(
        self, inputs: Tensors, weights: Tensors | None = None, options: Hashable = None, frozen: bool = False
    ) -> Outputs:
        """Compute the pass.

        Args:
            inputs: Images, mixing weights and whatever else the pass reads, by name; on one device.
            weights: Weights by name, with those of `module` for the rest; None takes all from it.
            options: What the function decides in Python: active options, statements of regularizers.
            frozen: Take no gradients of the weights, as if they were detached.

        Returns:
            The outputs, in memory of their own.

        Raises:
            ConfigError: The policy requires graphs, and something stands against them.
        """
        if self.policy.reason is None:
            known = self._known()
            reason = _of_this_pass(known)
            if reason is not None:
                self.policy.skip(reason)
            else:
                own = known.parameters()
                used = own if weights is None else [weights.get(n, w) for n, w in zip(known.names, own, strict=True)]
                direct = weights is None or all(map(_shares_memory, used, own))
                section = self._section(known, inputs, used, direct, options, frozen)
                if section is not None:
                    self.policy.replayed += 1
                    return section([*inputs.values(), *used])
        everything = {**dict(self._module.named_parameters()), **(weights or {})}
        if frozen:
            everything = {name: weight.detach() for name, weight in everything.items()}
        return self._function(everything, inputs, options)

    def _known(self) -> Structure:
        """Return the structure of the module; after a change of it everything is captured anew."""
        if self._structure is None or not self._structure.is_that_of_the_module():
            self.reset()
            self._structure = Structure(self._module)
        return self._structure

    def _section(
        self,
        known: Structure,
        inputs: Tensors,
        used: list[Tensor],
        direct: bool,
        options: Hashable,
        frozen: bool,
    ) -> Section | None:
        """Return the section of a pass, captured now if need be; None where the pass is eager."""
        addresses = known.addresses()
        if addresses != self._addresses:  # the graphs read memory that is not the module's any more
            self._sections.clear()
            self._graphs = None  # a pool without a live graph is not captured into again
            self._addresses = addresses
        device = next(iter(inputs.values())).device
        given = [*inputs.values(), *used]
        learns = torch.is_grad_enabled()
        weights_learn = learns and not frozen
        key = _Key(
            options,
            tuple((name, t.dtype, t.device) for name, t in inputs.items()),
            tuple(
                [learns and t.requires_grad for t in inputs.values()]
                + [weights_learn and t.requires_grad for t in used]
            ),
            True if direct else tuple((w.dtype, w.shape, w.stride()) for w in used),
            known.modes(),
            process_flags(device.type),
        )
        shapes = tuple((t.shape, t.stride()) for t in inputs.values())
        if self._shapes.setdefault(key, shapes) != shapes:
            self.policy.skip("another number of images")
            return None
        section = self._sections.get((key, shapes))
        if section is None and self._may_capture(device):
            section = self._capture(known, key, shapes, given, direct)
        return section

    def _may_capture(self, device: torch.device) -> bool:
        """Check what stands against a capture, and tell the policy."""
        too_many = self._count >= self._limit
        self.policy.refuse_any(
            [
                reason_of_device(device),
                reason_of_module(self._module),
                f"more than {self._limit} captures, the last one for {self._cause}" if too_many else None,
            ]
        )
        return self.policy.reason is None

    def _capture(
        self, known: Structure, key: _Key, shapes: Hashable, given: list[Tensor], direct: bool
    ) -> Section | None:
        names, count = [name for name, *_ in key.inputs], len(key.inputs)
        if self._graphs is None:
            self._graphs = graphs_on(given[0].device)

        def run(static: list[Tensor]) -> Outputs:
            weights = dict(zip(known.names, static[count:], strict=True))
            return self._function(weights, dict(zip(names, static[:count], strict=True)), key.options)

        try:
            section = Section(
                run,
                given,
                [False] * count + [direct] * len(known.names),
                key.gradients,
                known.buffers(),
                self._graphs,
                self._memory,
            )
        except CaptureError as error:
            self.policy.refuse(str(error))
            return None
        self.policy.captures += 1
        self._count += 1
        self._cause = "other addresses" if key in self._captured else _cause(key, self._captured)
        log.info(
            "cuda graph %d: %s %s, %d gradients; %s",
            self.policy.captures,
            "train" if known.trains() else "eval",
            {name: list(t.shape) for name, t in zip(names, given, strict=False)},
            sum(key.gradients),
            self._cause,
        )
        self._sections[key, shapes] = section
        self._captured.append(key)
        return section


def _of_this_pass(known: Structure) -> str | None:
    """Return why a replay would falsify this one pass."""
    if autograd_is_plain():
        return "gradients of second order"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a transform of torch.func"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    if torch.is_anomaly_enabled():
        return "anomaly mode"
    if torch._C._len_torch_dispatch_stack():
        return "a dispatch mode, such as a counter of operators"
    if torch.nn.modules.module._has_any_global_hook():
        return "torch's global hooks on modules"
    return "torch's hooks on modules" if known.has_hooks() else None


def _cause(key: _Key, captured: list[_Key]) -> str:
    """Say what a key has that the last one of these has not."""
    if not captured:
        return "first pass"
    parts = [f.name for f in fields(key) if getattr(key, f.name) != getattr(captured[-1], f.name)]
    return f"other {', '.join(parts)}"


def _shares_memory(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.data_ptr() == other.data_ptr() and one.stride() == other.stride())
