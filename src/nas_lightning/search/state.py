"""The state of a search beyond its weights: saving it, changing a value on the way, going back to an earlier epoch."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training.metrics import restore_metrics, state_of_metrics

if TYPE_CHECKING:
    from nas_lightning.search.module import SearchModule

WEIGHT_DECAY = "search.weights.weight_decay"
"""Key of the weight decay, which regularises the inner problem without being a part."""


@dataclass
class Measured:
    """The curvature at the end of an epoch, a row of curvature.csv; controls add what they make of it.

    Args:
        dominant_eigenvalue: Largest algebraic eigenvalue of the Hessian with respect to the architecture parameters.
        products: Hessian-vector products that it took.
        residual: ‖Hv − λv‖ of the pair found.
        seconds: Time that it took.
        on_grid: False for a measurement after the last epoch that the interval alone would not have taken.
        smoothed: The latest average of the control's window, if there is one.
        event: What a control decided: `stopped`, `rolled back`, or nothing.
        to_epoch: The search epoch whose end it goes back to.
    """

    dominant_eigenvalue: float
    products: int
    residual: float
    seconds: float
    on_grid: bool
    smoothed: float | None = None
    event: str = ""
    to_epoch: int | None = None


@dataclass(frozen=True)
class Rollback:
    """Go back to the end of an earlier search epoch.

    Args:
        epoch: That epoch.
        changes: Values that are different from then on, by their keys in the configuration.
        end: Whether the search ends there.
    """

    epoch: int
    changes: dict[str, float] = field(default_factory=dict)
    end: bool = False


def state_of(module: "SearchModule") -> dict[str, Any]:
    """What a checkpoint holds besides weights and optimizers: plain tensors and numbers only."""
    return {
        "arch": {name: a.detach().cpu() for name, a in module.arch.items()},
        "search_epoch": module.search_epoch,
        "attempt": module.attempt,
        "num_steps": module.num_steps,
        "stage": module.stage,
        "phase": module.phase,
        "first_epoch": module.first_epoch,
        "last_epoch": module.last_epoch,
        "epoch_offset": module.epoch_offset,
        "changed": dict(module.changed),
        "stopped": module.stopped,
        "decisions": module.decisions.state_dict(),
        "running": state_of_metrics(module.running) if module.in_epoch else {},
    }


def load_state(module: "SearchModule", state: dict[str, Any]) -> None:
    """Restore it, before the optimizers are built."""
    module.arch = {name: a.clone() for name, a in state["arch"].items()}
    module.search_epoch = state["search_epoch"]
    module.attempt = state["attempt"]
    module.num_steps = state["num_steps"]
    module.first_epoch = state["first_epoch"]
    module.last_epoch = state["last_epoch"]
    module.epoch_offset = state["epoch_offset"]
    module.stopped = state["stopped"]
    module.settle(state["decisions"])
    for key, value in state["changed"].items():
        change_value(module, key, value)
    if state["running"] and module.trainer.world_size > 1:
        raise ConfigError(
            f"trainer.devices: the last state is one between two batches of one process, not of"
            f" {module.trainer.world_size}; resume it with trainer.devices=1"
        )
    restore_metrics(module.running, state["running"])
    module.in_epoch = bool(state["running"])


def change_value(module: "SearchModule", key: str, value: float) -> None:
    """Give a value of the configuration another value from the next epoch on.

    Args:
        module: The search.
        key: `search.weights.weight_decay`, or `regularizer.NAME.ATTRIBUTE`.
        value: The new value.
    """
    if key == WEIGHT_DECAY:
        module.weight_decay = value
    else:
        _, name, attribute = key.split(".")
        setattr(module.regularizers[name], attribute, value)
    module.changed[key] = value


def value_of(module: "SearchModule", key: str) -> float | None:
    """The present value of a key that `change_value` can change; None where there is no such number."""
    if key == WEIGHT_DECAY:
        return module.weight_decay
    part, attribute = _adjustable(module, key)
    return None if part is None else float(getattr(part, attribute))


def bound_of(module: "SearchModule", key: str) -> float:
    """Below what the value of such a key must stay."""
    part, attribute = _adjustable(module, key)
    return math.inf if part is None else part.adjustable[attribute]


def adjustable_keys(module: "SearchModule") -> list[str]:
    """The keys whose values can be changed during the search."""
    parts = module.regularizers.items()
    return [WEIGHT_DECAY, *(f"regularizer.{n}.{a}" for n, part in parts for a in getattr(part, "adjustable", {}))]


def _adjustable(module: "SearchModule", key: str) -> tuple[Any, str]:
    if key not in adjustable_keys(module) or key == WEIGHT_DECAY:
        return None, ""
    _, name, attribute = key.split(".")
    return module.regularizers[name], attribute


def go_back(module: "SearchModule", rollback: Rollback) -> None:
    """Put the end of an earlier epoch in place: weights, buffers, optimizers, architecture parameters, controls.

    Lightning's counters and the number of steps go on, so that images and draws after a rollback are new ones.

    Raises:
        RuntimeError: There is no checkpoint of that epoch.
    """
    trainer = module.trainer
    folder = next(callback.folder for callback in trainer.checkpoint_callbacks if hasattr(callback, "folder"))
    path = folder / f"epoch={rollback.epoch + 1}.ckpt"
    saved = RunFolder(trainer.default_root_dir).checkpoint(path.name)
    if saved is None:
        raise RuntimeError(f"{path.name} is missing: the search cannot go back to the end of epoch {rollback.epoch}")
    trainer.strategy.load_model_state_dict(saved)
    trainer.strategy.load_optimizer_state_dict(saved)
    with torch.no_grad():
        for name, a in module.arch.items():  # in place: the optimizer holds these tensors
            a.copy_(saved["search"]["arch"][name])
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if getattr(callback, "goes_back", False):
            callback.load_state_dict(saved["callbacks"][callback.state_key])
    module.settle(saved["search"]["decisions"])
    module.search_epoch = rollback.epoch + 1
    module.attempt += 1
    for key, value in rollback.changes.items():
        change_value(module, key, value)
    module.stopped = rollback.end
