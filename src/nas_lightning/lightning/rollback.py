"""Going back in a search: what a control asks for, and how the state of an earlier epoch is put in place."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from nas_lightning.lightning.search import SearchModule


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


def restore(module: "SearchModule", rollback: Rollback) -> None:
    """Put the end of an earlier epoch in place: weights, buffers, optimizers, architecture parameters, controls.

    Lightning's counters and the number of steps go on, so that images and draws after a rollback are new ones.

    Raises:
        RuntimeError: There is no checkpoint of that epoch.
    """
    trainer = module.trainer
    folder = next(callback.folder for callback in trainer.checkpoint_callbacks if hasattr(callback, "folder"))
    path = folder / f"epoch={rollback.epoch + 1}.ckpt"
    if not path.exists():
        raise RuntimeError(f"{path.name} is missing: the search cannot go back to the end of epoch {rollback.epoch}")
    saved = torch.load(path, map_location=module.device, weights_only=True)
    trainer.strategy.load_model_state_dict(saved)
    trainer.strategy.load_optimizer_state_dict(saved)
    with torch.no_grad():
        for name, a in module.arch.items():  # in place: the optimizer holds these tensors
            a.copy_(saved["search"]["arch"][name])
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if getattr(callback, "goes_back", False):
            callback.load_state_dict(saved["callbacks"][callback.state_key])
    module.search_epoch = rollback.epoch + 1
    module.attempt += 1
    for key, value in rollback.changes.items():
        module.change(key, value)
    module.stopped = rollback.end
