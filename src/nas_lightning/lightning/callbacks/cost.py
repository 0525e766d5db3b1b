"""What a phase cost: seconds, images, memory."""

import resource
import sys
import time
from typing import Any

import torch

import lightning as L


class Cost(L.Callback):
    """Counts seconds of training epochs (validation within them included) and images; survives a resume.

    Args:
        phase: `selection` counts in the stage of a selector only, `search` in the other stages.
    """

    def __init__(self, phase: str = "search") -> None:
        self.phase = phase
        self.seconds = 0.0
        self.images = 0
        self._started: float | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        if self._counts(pl_module):
            self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of all streams."""
        if not self._counts(pl_module):
            return
        streams = batch.values() if isinstance(batch, dict) else [batch]
        self.images += trainer.world_size * sum(len(images) for images, *_ in streams)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        if self._started is not None:
            self.seconds += time.perf_counter() - self._started
            self._started = None

    def _counts(self, module: L.LightningModule) -> bool:
        return (getattr(module, "phase", "search") == "selection") == (self.phase == "selection")

    @property
    def state_key(self) -> str:
        """Name in the checkpoint."""
        return "Cost" if self.phase == "search" else f"Cost of {self.phase}"

    def state_dict(self) -> dict[str, Any]:
        """Totals so far."""
        return {"seconds": self.seconds, "images": self.images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from them."""
        self.seconds = state_dict["seconds"]
        self.images = state_dict["images"]

    def report(self) -> dict[str, float]:
        """`seconds`, `images_per_second`, `peak_memory_mib` (of the process, or of the GPU where one is used)."""
        return {
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images / self.seconds, 1) if self.seconds else 0.0,
            "peak_memory_mib": round(peak_memory_mib(), 1),
        }


def peak_memory_mib() -> float:
    """Peak memory so far in MiB: allocated on the GPU where one was used, else resident in the process."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return torch.cuda.max_memory_allocated() / 2**20
    # Of the whole process: earlier runs of a sweep or of a notebook count too.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
