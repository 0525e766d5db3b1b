"""Save the global random states, which Lightning does not.

The project's own draws are keyed and need none of this; it serves users' parts.
"""

import random
from typing import Any

import lightning as L
import numpy as np
import torch


class RandomState(L.Callback):
    """Saves the global states of torch, CUDA, numpy and python, and restores them before training resumes."""

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states as plain numbers and tensors, safe for a checkpoint."""
        _, keys, position, has_gauss, cached = np.random.get_state()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
            "python": list(random.getstate()[1]),
            "python_gauss": random.getstate()[2],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Hold the states until the first epoch starts: building the loaders still draws from the global ones."""
        self._restored = state_dict

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the states, once."""
        self._restore()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore them when training resumes between two batches: such an epoch has no start of its own."""
        self._restore()

    def _restore(self) -> None:
        if self._restored is None:
            return
        state, self._restored = self._restored, None
        torch.set_rng_state(state["torch"])
        for device, saved in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(saved, device)
        keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, has_gauss, cached))
        random.setstate((3, tuple(state["python"]), state["python_gauss"]))
