"""Roll a search back to the end of an earlier epoch."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from nas_lightning.callbacks import EpochCheckpoint
from nas_lightning.core.control import Control
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder


def restore_epoch(trainer: L.Trainer, arch: Mapping[str, torch.Tensor], epoch: int) -> dict[str, Any]:
    """Restore weights, buffers, optimizers, architecture parameters and the state of controls that roll back.

    Lightning's counters and the number of steps are not rewound, so images and draws after a rollback are new ones.

    Args:
        trainer: Trainer of the search.
        arch: Architecture parameters by choice, each [R, O]; overwritten.
        epoch: The search epoch whose end is restored.

    Returns:
        The section `search` of that epoch's checkpoint.

    Raises:
        RuntimeError: The checkpoint of that epoch is missing.
    """
    folder = next(one.folder for one in trainer.checkpoint_callbacks if isinstance(one, EpochCheckpoint))
    path = folder / layout.epoch_name(epoch + 1)  # named by epochs completed
    saved = RunFolder(trainer.default_root_dir).checkpoint(path.name)
    if saved is None:
        raise RuntimeError(f"{path.name} is missing: the search cannot roll back to the end of epoch {epoch}")
    trainer.strategy.load_model_state_dict(saved)
    trainer.strategy.load_optimizer_state_dict(saved)
    with torch.no_grad():
        for name, a in arch.items():  # in place: the optimizer holds these tensors
            a.copy_(saved["search"]["arch"][name])
    # What the eigenvalue criterion has seen since then belongs to the attempt that is given up.
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for control in (one for one in callbacks if isinstance(one, Control) and one.goes_back):
        control.load_state_dict(saved["callbacks"][control.state_key])  # type: ignore[attr-defined]
    return saved["search"]
