"""Going back: the end of an earlier epoch is put in place of the present."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from nas_lightning.callbacks import EpochCheckpoint
from nas_lightning.core.control import Control
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder


def restore_epoch(trainer: L.Trainer, arch: Mapping[str, torch.Tensor], epoch: int) -> dict[str, Any]:
    """Restore weights, buffers, optimizers, architecture parameters and the memory of controls that go back.

    Lightning's counters go on, so that images and draws after a rollback are new ones.

    Args:
        trainer: Of the search.
        arch: The architecture parameters, which are overwritten.
        epoch: The search epoch whose end is restored.

    Returns:
        The section `search` of that epoch's checkpoint.

    Raises:
        RuntimeError: There is no checkpoint of that epoch.
    """
    folder = next(one.folder for one in trainer.checkpoint_callbacks if isinstance(one, EpochCheckpoint))
    path = folder / layout.epoch_name(epoch + 1)
    saved = RunFolder(trainer.default_root_dir).checkpoint(path.name)
    if saved is None:
        raise RuntimeError(f"{path.name} is missing: the search cannot go back to the end of epoch {epoch}")
    trainer.strategy.load_model_state_dict(saved)
    trainer.strategy.load_optimizer_state_dict(saved)
    with torch.no_grad():
        for name, a in arch.items():  # in place: the optimizer holds these tensors
            a.copy_(saved["search"]["arch"][name])
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for control in (one for one in callbacks if isinstance(one, Control) and one.goes_back):
        control.load_state_dict(saved["callbacks"][control.state_key])  # type: ignore[attr-defined]
    return saved["search"]
