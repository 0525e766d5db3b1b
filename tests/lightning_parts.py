"""Parts that tests name in a configuration."""

from pathlib import Path

import lightning as L
import torch
from torch import nn

from nas_lightning.callbacks import CurvatureTracking
from nas_lightning.callbacks.curvature import Measured
from nas_lightning.objectives import Classification
from nas_lightning.regularizers import Regularizer


class CrashOnce(L.Callback):
    """Raises at the start of a batch, the first time only: a machine that dies in the middle of an epoch."""

    armed = True

    def __init__(self, phase: str, epoch: int, batch: int = 1) -> None:
        self.phase, self.epoch, self.batch = phase, epoch, batch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        phase = "search" if hasattr(pl_module, "arch") else "evaluation"
        here = (phase, trainer.current_epoch, batch_idx) == (self.phase, self.epoch, self.batch)
        if here and CrashOnce.armed:
            CrashOnce.armed = False
            raise RuntimeError("the machine died")


class TouchAtThirdBatch(L.Callback):
    """Makes a file once the third batch begins, for a test that waits for the middle of an epoch."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 2:
            self.path.touch()


class LearnableScale(nn.Module, Regularizer):
    """Scales every edge by one learnable number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.epochs: list[int] = []
        self.seen: set[str] = set()

    def on_op(self, y, op, edge):
        self.seen.add(op)
        return y

    def on_edge(self, y, x, edge):
        return self.scale * y

    def at_epoch(self, search_epoch):
        self.epochs.append(search_epoch)


class CountBatches(L.Callback):
    """Counts training batches by phase."""

    seen: dict[str, int] = {}  # noqa: RUF012 - shared on purpose

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        phase = "search" if hasattr(pl_module, "arch") else "evaluation"
        CountBatches.seen[phase] = CountBatches.seen.get(phase, 0) + 1


class Blobs(L.LightningDataModule):
    """An ordinary data module that knows nothing of searches."""

    def __init__(self, number: int = 40) -> None:
        super().__init__()
        self.number = number

    def setup(self, stage: str) -> None:
        rng = torch.Generator().manual_seed(0)
        labels = torch.arange(self.number) % 3
        images = torch.randn(self.number, 2, 8, 8, generator=rng) + labels[:, None, None, None]
        self.images = torch.utils.data.TensorDataset(images, labels)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.images, batch_size=8, shuffle=True)

    def test_dataloader(self):
        return torch.utils.data.DataLoader(self.images, batch_size=8)


class InjectedCurvature(CurvatureTracking):
    """Tells chosen eigenvalues: a list by search epoch, or such lists by attempt."""

    def __init__(self, series: list, interval: int = 1, **ignored: object) -> None:
        super().__init__(interval)
        self.series = series

    def measured(self, trainer, module, on_grid=True):
        series = self.series[module.attempt] if isinstance(self.series[0], list) else self.series
        return Measured(float(series[module.search_epoch]), 0, 0.0, 0.0, on_grid)


class NotANumber(Classification):
    """A loss that is NaN once it was asked for so many times."""

    asked = 0

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def loss(self, outputs, targets, label_smoothing=0.0):
        NotANumber.asked += torch.is_grad_enabled()
        value = super().loss(outputs, targets, label_smoothing)
        return value * float("nan") if NotANumber.asked == self.at else value
