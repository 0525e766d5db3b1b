"""The interface of analyses, and the supernet of another run."""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import lightning as L
from rich.console import Console
from rich.table import Table

from nas_lightning.callbacks import InterruptAtEpochEnd, TimeLimit
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.core.selector import Tuning
from nas_lightning.core.terminal import screen
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import bench_of, build_module, stages_of
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.origin import origin_checkpoint
from nas_lightning.searches.stages import selection_stage
from nas_lightning.training.workbench import Workbench, callback_of

QUIET: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "limit_val_batches": 0, "max_time": None}
"""Arguments of the Trainers of an analysis, which log, save and validate nothing."""
TAKEN = (
    *("analysis", "trainer", "graph", "epoch", "runs", "trusted"),
    *("sweep", "sweep_limit", "skip_finished", "candidates"),
)
"""Keys that `task=analyse` reads from its own command if it analyses a supernet; all others are those of that run."""


class Analysis(Protocol):
    """Analyses finished searches; writes `analysis.csv` and `plots/` of its own run folder."""

    of_supernet: bool
    """True if it analyses the supernet of the one run that `run` names, under the configuration of that run."""

    def check(self, bench: Workbench) -> None:
        """Refuse with a ConfigError what cannot be analysed, before anything is written."""
        ...

    def __call__(self, bench: Workbench) -> dict[str, Any]:
        """Measure what `analysis.csv` lacks; return the section `analysis` of the summary."""
        ...


class Origin:
    """The saved supernet of the run that `run` and `epoch` name; builds a new copy on every request.

    Args:
        bench: The parts of that run.

    Attributes:
        epoch: Search epochs for which the supernet was trained.
        passes: Passes over the training images so far; they key the augmentation.

    Raises:
        ConfigError: The run has no search, or keeps no supernet of that epoch.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        _require_supernet(bench)
        self._saved = origin_checkpoint(bench)
        self._stage = stages_of(bench)[self._saved["search"]["stage"]]
        self.epoch: int = self._saved["search"]["search_epoch"]
        self.passes: int = self._saved["search"]["epoch_offset"] + self._saved["epoch"] + 1

    @property
    def decisions(self) -> Decisions:
        """What the search had decided by then."""
        decisions = Decisions(bench_of(self._bench, self._stage).space.choices)
        decisions.load_state_dict(self._saved["search"]["decisions"])
        return decisions

    def module(
        self, epochs: int = 0, overrides: Mapping[str, Any] | None = None, momentum: bool = True
    ) -> tuple[Workbench, SearchModule]:
        """Build the search module as it was saved, and its parts; schedules continue from the saved position.

        Args:
            epochs: Further epochs for which it may be trained.
            overrides: Values of the configuration to change, by dotted key.
            momentum: Whether the weight optimizer keeps its momentum.
        """
        stage = selection_stage(self._stage, Tuning(epochs, dict(overrides or {})))
        bench = bench_of(self._bench, stage)
        module = build_module(bench, stage, self._saved["search"].get("built", {}))
        module.load_state_dict(self._saved["state_dict"])
        module.on_load_checkpoint(self._saved)
        # Optimizers update a loaded state in place: without a copy, the next module would not start as saved.
        sgd, adam = copy.deepcopy(self._saved["optimizer_states"])
        module.optimizer_states = [sgd if momentum else {**sgd, "state": {}}, adam]
        module.progress = replace(
            module.progress, first_epoch=self.epoch, last_epoch=self.epoch + epochs, stopped=False
        )
        for part in module.regularizers.values():
            part.at_epoch(module.progress.position)
        return bench, module


def _require_supernet(bench: Workbench) -> None:
    """Refuse runs without a supernet at any epoch.

    Raises:
        ConfigError: The run did not search, needs no supernet, or searched several times.
    """
    source = RunFolder(bench.config.run or "", "run")
    searched_as = source.config()
    if searched_as["task"] not in ("pipeline", "search", "select"):
        raise ConfigError(f"run={source}: task={searched_as['task']} has no search; give the run of a search")
    if not stages_of(bench):
        raise ConfigError(
            f"run={source}: its selector needs no supernet, so none was trained; give the run of a gradient-based"
            " method"
        )
    if searched_as["candidates"]["key"] is not None:
        raise ConfigError(f"run={source}: it ran several searches; give one of them, run={source}/candidates/0")


def fit(bench: Workbench, trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule) -> None:
    """Train a module within an analysis.

    Raises:
        Interrupted: The user stopped it; the analysis can be resumed.
    """
    interrupt = callback_of(trainer, InterruptAtEpochEnd)
    with interrupt.listening(bench.folder):
        trainer.fit(module, datamodule=data)
    if interrupt.requested:
        raise Interrupted(f"stopped in the analysis; continue with {bench.folder.command()}")


class Allowance:
    """The time of an analysis, `trainer.max_time` from its start: asked between measurements, since each saves its row.

    Args:
        bench: The parts of the analysis.
    """

    def __init__(self, bench: Workbench) -> None:
        limit = bench.config.trainer.get("max_time")
        self._seconds = None if limit is None else TimeLimit(limit).seconds
        self._folder = bench.folder
        self._started = time.monotonic()
        self._begun = False

    def begin(self) -> None:
        """Begin a measurement, if there is time left; the first one always begins.

        Raises:
            Interrupted: The time is over; the analysis can be resumed.
        """
        over = self._seconds is not None and time.monotonic() - self._started >= self._seconds
        if self._begun and over:
            raise Interrupted(f"stopped by trainer.max_time; continue with {self._folder.command()}")
        self._begun = True


def show_table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]], caption: str | None = None) -> None:
    """Print a table in full width, its first column aligned left, the others right."""
    table = Table(title=title, caption=caption)
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console = screen()
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)
