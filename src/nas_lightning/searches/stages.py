"""Stages of a search: each is one fit with its own space, loaders and schedule; state is carried between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from nas_lightning.config.schema import RootConfig
from nas_lightning.core import draws
from nas_lightning.core.selector import Tuning
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.progress import Progress
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
    config: RootConfig
    phase: str = "search"


def plan_stages(config: RootConfig) -> list[Stage]:
    """Return the stages of a configuration: `search.stages`, or one over all epochs.

    Raises:
        ConfigError: An override of a stage names a key that does not exist, or gives it a wrong value.
    """
    search = config.search
    if search.stages is None:
        return [Stage("search", 0, 0, search.epochs, config)]
    stages: list[Stage] = []
    first = 0
    for index, stage in enumerate(search.stages):
        who = f"search.stages: stage {stage.name} overrides"
        changed = config.with_values(stage.overrides, who, f"in stage {stage.name}")
        stages.append(Stage(stage.name, index, first, first + stage.epochs, changed))
        first += stage.epochs
    return stages


def selection_stage(last: Stage, tuning: Tuning) -> Stage:
    """Return the stage of a selector that trains, after the last of the search and with its configuration."""
    changed = last.config.with_values(tuning.overrides, "selector: its stage overrides", "in stage selection")
    return Stage("selection", last.index + 1, last.last_epoch, last.last_epoch + tuning.epochs, changed, "selection")


@dataclass(frozen=True)
class SearchState:
    """What a stage leaves to the next, on the CPU; `controls` by the keys of a checkpoint's callbacks."""

    weights: dict[str, torch.Tensor]
    arch: dict[str, torch.Tensor]
    optimizers: list[dict[str, Any]]
    progress: Progress
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
        plan = plan_widening(supernet, new.supernet, draws.seeded_generator(new.seed, "widening", new.progress.stage))
        grown = widen(_without_prefix(weights), plan)
        weights = {name: value for name, value in weights.items() if not name.startswith(_PREFIX)}
        weights |= {f"{_PREFIX}{name}": value for name, value in grown.items()}
        sgd = _widened_moments(sgd, supernet, plan)
    new.load_state_dict(weights)
    new.arch = {name: a.clone() for name, a in old.arch.items()}
    new.optimizer_states = [{**sgd, "state": {}} if new.progress.phase == "selection" else sgd, adam]
    new.progress = old.progress.entering(new.progress)
    new.settle(old.decisions)
    for key, value in old.progress.changed.items():
        new.change(key, value)


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
