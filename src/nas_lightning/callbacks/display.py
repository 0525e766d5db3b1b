"""Show the progress of a run: epoch, losses, metric, time left."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nas_lightning.core.objective import Goal
from nas_lightning.core.terminal import screen

log = logging.getLogger(__name__)

LOSSES = {"train_loss": "train loss {:.3f}", "arch_loss": "arch loss {:.3f}"}
EIGENVALUE = {"dominant_eigenvalue": "λ {:.3f}"}
"""Formats of displayed numbers, besides the metric of the objective."""


def after_epochs(done: int, total: int) -> str:
    """Say how many epochs are over, by the number of the last one in tables and plots, which count from 0.

    >>> after_epochs(3, 50), after_epochs(0, 50)
    ('after epoch 2 (3/50)', 'in epoch 0 (1/50)')
    """
    return f"after {_nth(done - 1, total)}" if done else f"in {_nth(0, total)}"


def _nth(epoch: int, total: int) -> str:
    return f"epoch {epoch} ({epoch + 1}/{total})"


class LiveDisplay(L.Callback):
    """Shows a progress bar on a terminal, and prints a line per epoch elsewhere; the lines are in run.log, too.

    Args:
        title: Name of the phase, for instance `search`.
        epochs: Total number of epochs.
        console: Console to print on; None is the standard output.
    """

    def __init__(self, title: str, epochs: int, console: Console | None = None) -> None:
        self.title = title
        self.epochs = epochs
        self.console = console or screen()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._latest = 0.0
        self._epochs_here = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Open the bar."""
        self._started = self._latest = time.monotonic()
        self._epochs_here = 0
        if not trainer.is_global_zero:
            return
        begun = self._epoch(trainer, pl_module)
        if begun > pl_module.first_epoch:
            self._say(f"{self.title}: resuming {after_epochs(begun, self.epochs)}")
        if not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
        )
        done = self._epoch(trainer, pl_module) * self._batches(trainer)
        self._task = self._progress.add_task(
            self.title, total=self.epochs * self._batches(trainer), completed=done, status="starting"
        )
        self._progress.start()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Advance the bar."""
        if self._progress is not None and self._task is not None:
            done = self._epoch(trainer, pl_module) * self._batches(trainer) + batch_idx + 1
            self._progress.update(self._task, completed=done, status=self._status(trainer, pl_module))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Show the epoch's numbers, its seconds and the time left, by the mean of the epochs since the start."""
        if not trainer.is_global_zero:
            return
        now = time.monotonic()
        seconds, self._latest = now - self._latest, now
        self._epochs_here += 1
        remaining = self.epochs - self._epoch(trainer, pl_module) - 1
        left = timedelta(seconds=round(max(0, remaining) * (now - self._started) / self._epochs_here))
        status = self._status(trainer, pl_module)
        line = f"{self.title}: {status}, {seconds:.1f} s, {left} left"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, status=status)
            log.info("%s", line)
        else:
            self._say(line)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Close the bar and leave it on the screen."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Close the bar, so that the message is not overwritten."""
        self._close()

    def _say(self, line: str) -> None:
        log.info("%s", line)
        self.console.print(line, highlight=False, soft_wrap=True)

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _epoch(self, trainer: L.Trainer, pl_module: Any) -> int:
        return pl_module.search_epoch

    def _batches(self, trainer: L.Trainer) -> int:
        return max(1, int(trainer.num_training_batches))

    def _status(self, trainer: L.Trainer, pl_module: Any) -> str:
        metrics = trainer.callback_metrics
        # `callback_metrics` keeps the eigenvalue of an earlier epoch when this one has none.
        stale = ("dominant_eigenvalue",) if pl_module.curvature is None else ()
        parts = [_nth(self._epoch(trainer, pl_module), self.epochs)]
        goal: Goal = pl_module.goal
        named = "" if goal.metric == "accuracy" else f"{goal.name} "
        formats: dict[str, Callable[[float], str]] = {
            **{key: text.format for key, text in LOSSES.items()},
            goal.key("val"): lambda value: f"val {named}{goal.shown(value)}",
            **{key: text.format for key, text in EIGENVALUE.items()},
            goal.key("test"): lambda value: f"test {named}{goal.shown(value)}",
        }
        parts += [text(float(metrics[key])) for key, text in formats.items() if key in metrics and key not in stale]
        return ", ".join(parts)
