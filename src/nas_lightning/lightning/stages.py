"""Stages of a search: each is one fit with its own space, loaders and schedule; state is carried between them."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from nas_lightning.configs import SearchConfig
from nas_lightning.errors import ConfigError
from nas_lightning.lightning.search import SearchModule
from nas_lightning.lightning.state import change_value


@dataclass(frozen=True)
class Stage:
    """A stretch of search epochs.

    Args:
        name: Shown and logged.
        index: Position among the stages.
        first_epoch: Search epoch that it starts at.
        last_epoch: Search epoch that it ends at, not run any more.
        config: The whole configuration as this stage sees it.
    """

    name: str
    index: int
    first_epoch: int
    last_epoch: int
    config: dict[str, Any]


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
    controls: dict[str, Any]


def transfer(old: SearchState, new: SearchModule) -> None:
    """Carry weights, buffers, architecture parameters, optimizer moments and counters into the next stage.

    Raises:
        ConfigError: The next supernet has other shapes; a stage that changes them must say how to carry them.
    """
    try:
        new.load_state_dict(old.weights)
    except RuntimeError as error:
        raise ConfigError(f"search.stages: stage {new.stage} has another supernet than the one before") from error
    new.arch = {name: a.clone() for name, a in old.arch.items()}
    new.optimizer_states = old.optimizers
    new.search_epoch = old.search_epoch
    new.attempt = old.attempt
    new.num_steps = old.num_steps
    new.epoch_offset = old.epoch_offset
    for key, value in old.changed.items():
        change_value(new, key, value)
