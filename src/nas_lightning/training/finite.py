"""Guard against non-finite losses: refuse the optimizer step before it spoils the weights."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from nas_lightning.callbacks.phase_module import PhaseModule
from nas_lightning.core import ranks
from nas_lightning.core.errors import NonFiniteError
from nas_lightning.data.loading import PassLoader
from nas_lightning.data.text_modules import ChunkLoader
from nas_lightning.runs.folder import RunFolder


class FiniteLoss:
    """Checks the loss of every step before the optimizer acts on it.

    On a GPU the check waits for the loss alone, on a stream of its own: the backward pass, which is queued after the
    loss, runs meanwhile, and the optimizer's kernels are queued long before it ends. A check every few steps would
    cost as little, but the weights before the bad step would be gone.
    """

    def __init__(self) -> None:
        self._loss: Tensor | None = None
        self._finite: Tensor | None = None
        self._stream: Any = None
        self._copied: Any = None

    def watch(self, loss: Tensor) -> None:
        """Record the loss of the next step, and start copying whether it is finite."""
        self._loss = loss.detach()
        self._finite = torch.isfinite(self._loss).all()
        if self._loss.device.type != "cuda":
            return
        if self._stream is None:
            self._stream, self._copied = torch.cuda.Stream(self._loss.device), torch.cuda.Event()
        # The side stream waits for the kernels queued so far, not for the backward pass that is queued after them.
        self._stream.wait_stream(torch.cuda.current_stream(self._loss.device))
        with torch.cuda.stream(self._stream):
            self._finite.record_stream(self._stream)  # or its memory might be reused before the copy has run
            host = torch.empty((), dtype=torch.bool, pin_memory=True)
            self._finite = host.copy_(self._finite, non_blocking=True)
            self._copied.record(self._stream)

    def check(self, module: PhaseModule, name: str, stream: str, batch_idx: int) -> None:
        """Refuse the step if the recorded loss is not finite, in all processes if it is so in one.

        Args:
            module: The module that is trained.
            name: Name of the loss.
            stream: Stream of images that the loss is computed on.
            batch_idx: Index of the batch in the epoch.

        Raises:
            NonFiniteError: The loss is NaN or infinite.
        """
        if self._loss is None or self._finite is None:
            return
        if self._copied is not None:
            self._copied.synchronize()
        loss, finite = self._loss, bool(self._finite)
        self._loss = self._finite = None
        trainer = module.trainer
        # Collective: the other processes would wait for ever in the next communication.
        if trainer.strategy.reduce_boolean_decision(not finite, all=False):
            mine = None if finite else _message(module, trainer, name, float(loss), stream, batch_idx)
            raise NonFiniteError(next(line for line in ranks.gathered(mine) if line is not None))


def _message(module: PhaseModule, trainer: L.Trainer, name: str, loss: float, stream: str, batch_idx: int) -> str:
    loaders: Any = trainer.train_dataloader
    loader = loaders[stream] if isinstance(loaders, dict) else loaders
    keyed = isinstance(loader, PassLoader | ChunkLoader)
    batch = (
        f"; its {'images' if isinstance(loader, PassLoader) else 'text'}: {loader.key_of(batch_idx)}" if keyed else ""
    )
    epoch = module.search_epoch
    lr, resumed = module.lr_keys, RunFolder(trainer.default_root_dir).command()
    return (
        f"the {name} loss is {loss} in epoch {epoch}, batch {batch_idx}, step {module.num_steps}{batch}; the state"
        f" before this step is in nonfinite.ckpt, last.ckpt is unchanged: {resumed}"
        f" repeats the step, a new run with a lower {lr} avoids it"
    )
