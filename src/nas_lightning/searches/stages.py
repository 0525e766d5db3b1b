"""Stages of a search: each is one fit with its own space, loaders and schedule; state is carried between them.

A fresh stage begins a search of its own: weights, architecture parameters, optimizers and schedules are new, and only
the decisions made so far remain. The stages up to the next fresh one continue it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    """A range of search epochs that is trained by one fit.

    Args:
        name: Name in messages.
        index: Position among the stages.
        first_epoch: Search epoch at which it starts.
        last_epoch: Search epoch at which it ends, exclusive.
        config: The whole configuration with the overrides of this stage.
        phase: `search`, or `selection` for the stage of a selector that trains.
        root: Index of the stage whose new weights it trains on: its own if it is fresh, that of the last fresh one, or
            0.
        schedule_start: Search epoch at which that stage, and with it all schedules, start.
        before: The stage before it; None for the first.
    """

    name: str
    index: int
    first_epoch: int
    last_epoch: int
    config: RootConfig
    phase: str = "search"
    root: int = 0
    schedule_start: int = 0
    before: "Stage | None" = None

    @property
    def so_far(self) -> tuple["Stage", ...]:
        """All stages from the first to this one."""
        return (*(() if self.before is None else self.before.so_far), self)

    @property
    def fresh(self) -> bool:
        """True where nothing but decisions comes from the stage before; always so in the first."""
        return self.root == self.index

    @property
    def seed(self) -> int:
        """Seed of its draws: that of the run, and one for each later fresh stage, which those that continue it keep."""
        seed = self.config.seed
        return draws.hashed_seed(seed, "fresh stage", self.root) % 2**32 if self.root else seed


def plan_stages(config: RootConfig) -> list[Stage]:
    """Return the stages of a configuration: those of `search.stages`, or a single one over all epochs.

    Raises:
        ConfigError: An override of a stage names a key that does not exist, or gives it a wrong value.
    """
    search = config.search
    if search.stages is None:
        return [Stage("search", 0, 0, search.epochs, config)]
    roots = [0, *(index for index, stage in enumerate(search.stages) if stage.fresh and index)]
    stages: list[Stage] = []
    first = 0
    for root, end in zip(roots, [*roots[1:], len(search.stages)], strict=True):
        own = search.stages[root:end]
        # Every schedule ends with `search.epochs`: those of a fresh stage are over the epochs up to the next fresh one.
        length = {
            "search.epochs": sum(stage.epochs for stage in own),
            "search.stages": [stage.model_dump() for stage in own],
        }
        start = first
        for index, stage in enumerate(own, root):
            who = f"search.stages: stage {stage.name} overrides"
            values = (length if len(roots) > 1 else {}) | stage.overrides
            changed = config.with_values(values, who, f"in stage {stage.name}")
            before = stages[-1] if stages else None
            stages.append(
                Stage(
                    stage.name,
                    index,
                    first,
                    first + stage.epochs,
                    changed,
                    root=root,
                    schedule_start=start,
                    before=before,
                )
            )
            first += stage.epochs
    return stages


def selection_stage(last: Stage, tuning: Tuning) -> Stage:
    """Return the stage of a selector that trains: it follows the last of the search and inherits its configuration."""
    changed = last.config.with_values(tuning.overrides, "selector: its stage overrides", "in stage selection")
    return replace(
        last,
        name="selection",
        index=last.index + 1,
        first_epoch=last.last_epoch,
        last_epoch=last.last_epoch + tuning.epochs,
        config=changed,
        phase="selection",
        before=last,
    )


@dataclass(frozen=True)
class SearchState:
    """State at the end of a stage, tensors on the CPU.

    Args:
        weights: `state_dict` of the module.
        arch: Architecture parameters by choice, each [R, O].
        optimizers: `state_dict` of SGD and of Adam.
        progress: Position of the search.
        decisions: State of the decisions.
        controls: States of the controls, by their keys among a checkpoint's callbacks.
    """

    weights: dict[str, torch.Tensor]
    arch: dict[str, torch.Tensor]
    optimizers: list[dict[str, Any]]
    progress: Progress
    decisions: dict[str, Any]
    controls: dict[str, Any]


def transfer(old: SearchState, new: SearchModule, supernet: torch.nn.Module | None = None, fresh: bool = False) -> None:
    """Carry weights, buffers, architecture parameters, optimizer moments, decisions and counters into the next stage.

    Into a fresh stage only decisions and counters are carried. A wider supernet is grown from the old one
    (`spaces.widening`), moments included. The stage of a selector starts with a new weight optimizer.

    Args:
        old: State at the end of the stage before.
        new: Module of the next stage, initialised.
        supernet: Supernet of the stage before, for its shapes; required where they differ.
        fresh: Whether the next stage is fresh.

    Raises:
        ConfigError: The old supernet cannot grow into the shapes of the next.
    """
    if fresh:
        new.progress = old.progress.entering(new.progress)
        new.settle(old.decisions)
        return
    weights, (sgd, adam) = old.weights, old.optimizers
    if supernet is not None and shapes_of(supernet) != shapes_of(new.supernet):
        # Which channels are duplicated is drawn by seed and stage, so a repeated transfer grows the same network.
        plan = plan_widening(supernet, new.supernet, draws.seeded_generator(new.seed, "widening", new.progress.stage))
        grown = widen(_without_prefix(weights), plan)
        weights = {name: value for name, value in weights.items() if not name.startswith(_PREFIX)}
        weights |= {f"{_PREFIX}{name}": value for name, value in grown.items()}
        sgd = _widened_moments(sgd, supernet, plan)
    new.load_state_dict(weights)
    # Cloned: the state stays what the stage before ended with, while the new optimizer steps these tensors in place.
    new.arch = {name: a.clone() for name, a in old.arch.items()}
    new.optimizer_states = [{**sgd, "state": {}} if new.progress.phase == "selection" else sgd, adam]
    new.progress = old.progress.entering(new.progress)
    new.settle(old.decisions)  # after the module was built: the relaxation of the new stage is unrestricted until here
    # A control's change outlives the stage; `change` also records it in the new progress, for its checkpoints.
    for key, value in old.progress.changed.items():
        new.change(key, value)


_PREFIX = "supernet."


def shapes_of(module: torch.nn.Module) -> dict[str, torch.Size]:
    """Return the shapes of weights and buffers by name."""
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _without_prefix(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(_PREFIX) :]: value for name, value in weights.items() if name.startswith(_PREFIX)}


def _widened_moments(state: Mapping[str, Any], supernet: torch.nn.Module, plan: Any) -> dict[str, Any]:
    """Return the state of the weight optimizer with momentum buffers grown like their weights."""
    # torch numbers an optimizer's parameters by position, and widening knows them by name.
    names = [name for name, _ in supernet.named_parameters()]
    buffers = {
        names[index]: entry["momentum_buffer"]
        for index, entry in state["state"].items()
        if entry.get("momentum_buffer") is not None
    }
    grown = widen(buffers, plan)
    positions = {name: index for index, name in enumerate(names)}
    return {**state, "state": {positions[name]: {"momentum_buffer": value} for name, value in grown.items()}}
