"""Measure the cost of a phase: seconds, images, memory."""

import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch

from nas_lightning.core.batches import count_of


class Cost(L.Callback):
    """Counts seconds of training epochs (validation within them included) and images, across resumes.

    Totals are part of the checkpoint: batches that are trained again after an interruption count once.

    Args:
        phase: `selection` counts in the stage of a selector only, `search` in the other stages.
    """

    def __init__(self, phase: str = "search") -> None:
        self.phase = phase
        self.seconds = 0.0
        self.validating = 0.0
        self.images = 0
        self.peak = 0.0
        self._started: float | None = None
        self._validation_started: float | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Reset the peak of the GPU, so that earlier allocations do not count."""
        if self._counts(pl_module) and pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        if self._counts(pl_module):
            self._started = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start the clock when training resumes between two batches: such an epoch has no start of its own."""
        if self._started is None and self._counts(pl_module):
            self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the images, or the tokens of a text, that the step has read, in all processes."""
        if not self._counts(pl_module):
            return
        streams = [batch]
        if isinstance(batch, dict):  # of a search; only an architecture step reads the arch stream
            streams = [part for name, part in batch.items() if name != "arch" or pl_module.reads_arch]
        self.images += trainer.world_size * sum(count_of(inputs) for inputs, *_ in streams)

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start the clock of the validation within an epoch."""
        self._validation_started = None if self._started is None else time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Stop that clock."""
        if self._validation_started is not None:
            self.validating += time.perf_counter() - self._validation_started
            self._validation_started = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Stop the clock."""
        if self._started is not None:
            self.seconds += time.perf_counter() - self._started
            self._started = None
            self.peak = max(self.peak, peak_memory_mib(pl_module.device))

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Include the memory that other callbacks needed after the last epoch."""
        if self._counts(pl_module):
            self.peak = max(self.peak, peak_memory_mib(pl_module.device))

    def _counts(self, module: Any) -> bool:
        return (module.phase == "selection") == (self.phase == "selection")

    @property
    def state_key(self) -> str:
        """Key in a checkpoint's `callbacks`."""
        return "Cost" if self.phase == "search" else f"Cost of {self.phase}"

    def state_dict(self) -> dict[str, Any]:
        """Return the totals so far, with the running epoch up to now."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return {
            "seconds": self.seconds + running,
            "validating": self.validating,
            "images": self.images,
            "peak": self.peak,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the totals."""
        self.seconds = state_dict["seconds"]
        self.validating = state_dict["validating"]
        self.images = state_dict["images"]
        self.peak = state_dict["peak"]

    def report(self) -> dict[str, int | float | None]:
        """Return the entries of the summary; those of a resumed run include what it did before.

        Returns:
            `seconds` of training epochs, validation included; `images` that steps read (in a search a train batch,
            and an arch batch where it has an architecture step), or tokens of a text, each once a step, however many
            passes the step makes over them; `images_per_second` of these during training, validation excluded;
            `peak_memory_mib` allocated on the GPU in this phase, or resident in the process without a GPU; null if
            nothing was trained.
        """
        training = self.seconds - self.validating
        return {
            "seconds": round(self.seconds, 3),
            "images": self.images,
            "images_per_second": round(self.images / training, 1) if training else 0.0,
            "peak_memory_mib": round(self.peak, 1) if self.peak else None,
        }


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory in MiB: allocated on the GPU since the reset, else resident in the process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # The system counts per process and cannot be reset: earlier phases and earlier runs of a sweep are included. The
    # unit is bytes on macOS and KiB on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def hardware(trainer_part: Mapping[str, Any]) -> dict[str, str]:
    """Return the hardware of a `trainer` section: `device` (name of the GPU, or threads of the CPU) and `precision`."""
    gpu = torch.cuda.is_available() and trainer_part.get("accelerator", "auto") in ("auto", "gpu", "cuda")
    return {
        "device": torch.cuda.get_device_name() if gpu else f"cpu ({torch.get_num_threads()} threads)",
        "precision": str(trainer_part.get("precision") or "32-true"),
    }
