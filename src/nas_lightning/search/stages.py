"""Stages of a search: each is one fit with its own space, loaders and schedule; state is carried between them."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from nas_lightning.config.schema import SearchConfig
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.protocols import Tuning
from nas_lightning.search.module import SearchModule
from nas_lightning.search.state import change_value
from nas_lightning.spaces.widening import plan_widening, widen


@dataclass(frozen=True)
class Stage:
    """A stretch of search epochs.

    Args:
        name: Shown and logged.
        index: Position among the stages.
        first_epoch: Search epoch that it starts at.
        last_epoch: Search epoch that it ends at, not run any more.
        config: The whole configuration as this stage sees it.
        phase: `search`, or `selection` for the stage of a selector that trains.
    """

    name: str
    index: int
    first_epoch: int
    last_epoch: int
    config: dict[str, Any]
    phase: str = "search"


def plan_stages(config: Mapping[str, Any], search: SearchConfig) -> list[Stage]:
    """The stages of a configuration: `search.stages`, or one over all epochs.

    Raises:
        ConfigError: An override of a stage names a key that does not exist.
    """
    if search.stages is None:
        return [Stage("search", 0, 0, search.epochs, dict(config))]
    stages: list[Stage] = []
    first = 0
    for index, stage in enumerate(search.stages):
        changed = copy.deepcopy(dict(config))
        for key, value in stage.overrides.items():
            assign(changed, key, value, f"search.stages: stage {stage.name} overrides")
        stages.append(Stage(stage.name, index, first, first + stage.epochs, changed))
        first += stage.epochs
    return stages


def selection_stage(last: Stage, tuning: Tuning) -> Stage:
    """The stage of a selector that trains, after the last of the search and with its configuration."""
    changed = copy.deepcopy(last.config)
    for key, value in tuning.overrides.items():
        assign(changed, key, value, "selector: its stage overrides")
    return Stage("selection", last.index + 1, last.last_epoch, last.last_epoch + tuning.epochs, changed, "selection")


def assign(config: dict[str, Any], key: str, value: Any, who: str) -> Any:
    """Give a dotted key of a configuration another value, in place; returns the old one.

    Raises:
        ConfigError: There is no such key.
    """
    *path, last = key.split(".")
    node: Any = config
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        raise ConfigError(f"{who} {key}={value}, but there is no such key")
    old, node[last] = node[last], value
    return old


@dataclass(frozen=True)
class SearchState:
    """What a stage leaves to the next, on the CPU; `controls` by the keys of a checkpoint's callbacks."""

    weights: dict[str, torch.Tensor]
    arch: dict[str, torch.Tensor]
    optimizers: list[dict[str, Any]]
    search_epoch: int
    attempt: int
    num_steps: int
    epoch_offset: int
    changed: dict[str, float]
    stopped: bool
    decisions: dict[str, Any]
    controls: dict[str, Any]


def transfer(old: SearchState, new: SearchModule, supernet: torch.nn.Module | None = None) -> None:
    """Carry weights, buffers, architecture parameters, optimizer moments, decisions and counters into the next stage.

    A wider supernet grows out of the old one (`spaces.widening`), moments included. The stage of a selector starts
    with a new weight optimizer.

    Args:
        old: What the stage before left.
        new: The next stage, initialised.
        supernet: The supernet of the stage before, for its shapes; needed where they differ.

    Raises:
        ConfigError: The next supernet has shapes into which the old one cannot grow.
    """
    weights, (sgd, adam) = old.weights, old.optimizers
    if supernet is not None and shapes_of(supernet) != shapes_of(new.supernet):
        plan = plan_widening(supernet, new.supernet, draws.seeded_generator(new.seed, "widening", new.stage))
        grown = widen(_without_prefix(weights), plan)
        weights = {name: value for name, value in weights.items() if not name.startswith(_PREFIX)}
        weights |= {f"{_PREFIX}{name}": value for name, value in grown.items()}
        sgd = _widened_moments(sgd, supernet, plan)
    new.load_state_dict(weights)
    new.arch = {name: a.clone() for name, a in old.arch.items()}
    new.optimizer_states = [{**sgd, "state": {}} if new.phase == "selection" else sgd, adam]
    new.search_epoch = old.search_epoch
    new.attempt = old.attempt
    new.num_steps = old.num_steps
    new.epoch_offset = old.epoch_offset
    # A control may have ended the stage before its last epoch.
    new.first_epoch, new.last_epoch = old.search_epoch, old.search_epoch + new.last_epoch - new.first_epoch
    new.settle(old.decisions)
    for key, value in old.changed.items():
        change_value(new, key, value)


_PREFIX = "supernet."


def shapes_of(module: torch.nn.Module) -> dict[str, torch.Size]:
    """Shapes of weights and buffers by name."""
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _without_prefix(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(_PREFIX) :]: value for name, value in weights.items() if name.startswith(_PREFIX)}


def _widened_moments(state: Mapping[str, Any], supernet: torch.nn.Module, plan: Any) -> dict[str, Any]:
    """The state of the weight optimizer, its momentum buffers grown like the weights that they belong to."""
    names = [name for name, _ in supernet.named_parameters()]
    buffers = {
        names[index]: entry["momentum_buffer"]
        for index, entry in state["state"].items()
        if entry.get("momentum_buffer") is not None
    }
    grown = widen(buffers, plan)
    positions = {name: index for index, name in enumerate(names)}
    return {**state, "state": {positions[name]: {"momentum_buffer": value} for name, value in grown.items()}}
