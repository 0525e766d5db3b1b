"""Whether passes are captured: what is asked for, what stands against it, and who is told.

`off` never captures, `auto` where nothing stands against it, `required` makes a reason an error. A reason is one line.
"""

import logging
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from nas_lightning.capture.graphs import has_graphs
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.regularizer import Regularizer

log = logging.getLogger(__name__)

Setting = Literal["auto", "off", "required"]
KNOWN = ("torch", "nas_lightning")
"""Packages whose modules are known to be capturable, but for those of `UNFIT`."""
UNFIT = (nn.SyncBatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d)
"""They wait for other processes, or draw numbers that no key gives."""
HOOKS = {"on_op": "operations", "on_edge": "edges"}
"""Hooks of regularizers within the supernet, and what they act on."""


class Policy:
    """Decides whether to capture, and remembers why not.

    Args:
        setting: `auto`, `off` or `required`.
        key: Key of the setting in the configuration, for messages.

    Attributes:
        reason: Why nothing is captured any more; None while it may be.
        passing: Why single passes were computed eagerly, each reason once.
        captures: Number of captures so far.
        replayed: Number of passes that were replayed.
        eager: Number of passes that were computed eagerly although graphs were on.
    """

    def __init__(self, setting: Setting, key: str) -> None:
        self.setting = setting
        self.key = key
        self.reason: str | None = f"{key}=off" if setting == "off" else None
        self.passing: list[str] = []
        self.captures = self.replayed = self.eager = 0

    def refuse(self, reason: str) -> None:
        """Capture nothing from now on; say so once.

        Raises:
            ConfigError: A graph is required.
        """
        if self.setting == "required":
            raise ConfigError(f"{self.key}=required: {reason}; write {self.key}=auto, which then computes eagerly")
        if self.reason is None:
            self.reason = reason
            log.info("engine: cuda graph off: %s", reason)

    def refuse_any(self, reasons: Iterable[str | None]) -> None:
        """Refuse for the first reason, if there is one."""
        reason = next((r for r in reasons if r is not None), None)
        if reason is not None:
            self.refuse(reason)

    def skip(self, reason: str) -> None:
        """Note that a pass is computed eagerly; say so once for each reason."""
        self.eager += 1
        if reason not in self.passing:
            self.passing.append(reason)
            log.info("engine: cuda graph off for single passes: %s", reason)

    @property
    def summary(self) -> str:
        """Return how the passes were computed, for a summary."""
        if self.reason is not None:
            return f"off: {self.reason}"
        if not self.eager:
            return "on"
        share = 100 * self.replayed / (self.replayed + self.eager)
        return f"on for {share:.0f} % of the passes; eager: {', '.join(self.passing)}"


def reason_of_module(module: nn.Module) -> str | None:
    """Return what of a module cannot be captured, or is not known to be; None if all of it can.

    A module of a user's says `graphable = True` where its forward pass reads no number from the device, draws through
    `core.draws` only and depends on no value that changes between passes but its modes.
    """
    for part in module.modules():
        kind = type(part)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if isinstance(part, UNFIT):
            return f"module {name} cannot be captured"
        known = kind.__module__.partition(".")[0] in KNOWN
        if not known and not isinstance(part, Regularizer) and not kind.__dict__.get("graphable", False):
            return f"module {name} does not say graphable = True"
    return None


def reason_of_regularizer(part: Regularizer) -> str | None:
    """Return why the hooks of a regularizer inside the supernet cannot be captured; None if they can."""
    acts = [what for hook, what in HOOKS.items() if _owner(part, hook) is not Regularizer]
    if not acts:
        return None
    # What a class says holds for its own hooks, not for those that a subclass overrides.
    order = type(part).__mro__.index
    said = order(_owner(part, "graphable"))
    if part.graphable and all(said <= order(_owner(part, hook)) for hook in (*HOOKS, "acts_on", "acts_on_edges")):
        return None
    kind = type(part)
    return f"regularizer {kind.__module__}.{kind.__qualname__} acts on {' and '.join(acts)}"


def _owner(part: Any, name: str) -> type:
    return next(kind for kind in type(part).__mro__ if name in vars(kind))


def statements(parts: Sequence[Regularizer], operations: Iterable[str]) -> Hashable:
    """Return what regularizers decide in Python for a pass: part of the key of its graph.

    Args:
        parts: The regularizers.
        operations: Names of all candidate operations.
    """
    names = tuple(operations)
    return tuple((tuple(map(part.acts_on, names)), part.acts_on_edges(), part.statement()) for part in parts)


def reason_of_device(device: torch.device) -> str | None:
    """Return the reason of a device that has no graphs; None if it has."""
    return None if has_graphs(device) else f"images are on the {device.type}"


def reason_of_processes(number: int) -> str | None:
    """Return the reason of a run in several processes; None for one."""
    return None if number == 1 else f"{number} processes train together"
