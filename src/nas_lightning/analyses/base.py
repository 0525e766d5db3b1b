"""What analyses share: what one must offer, and the supernet of another run."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import lightning as L
from rich.console import Console
from rich.table import Table

from nas_lightning.callbacks import InterruptAtEpochEnd, out_of_time
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.core.selector import Tuning
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import bench_of, build_module, stages_of
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.origin import origin_checkpoint
from nas_lightning.searches.stages import selection_stage
from nas_lightning.training.workbench import Workbench, callback_of

QUIET: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "limit_val_batches": 0}
"""Arguments of the Trainers of an analysis: nothing is logged, saved or validated on the way."""


TAKEN = ("analysis", "trainer", "epoch", "runs", "trusted", "sweep", "sweep_limit", "skip_finished", "candidates")
"""What `task=analyse` takes from its own command where it looks at a supernet; all else is what that run had."""


class Analysis(Protocol):
    """Looks at finished searches. Its files are `analysis.csv` and `plots/` of its own run folder."""

    of_supernet: bool
    """Whether it needs the supernet of the run that `run` names: then it sees that run's configuration."""

    def check(self, bench: Workbench) -> None:
        """Raise ConfigError for what cannot be analysed, before anything is written."""
        ...

    def __call__(self, bench: Workbench) -> dict[str, Any]:
        """Measure what `analysis.csv` does not hold yet; returns the section `analysis` of the summary."""
        ...


class Origin:
    """The supernet of the run that `run` and `epoch` name, anew whenever it is asked for.

    Args:
        bench: The parts of that run.

    Attributes:
        epoch: Search epochs that the supernet was trained for.
        passes: How often the training images were passed through.

    Raises:
        ConfigError: The run has no search, or keeps no such supernet.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        _require_supernet(bench)
        self._saved = origin_checkpoint(bench)
        self._stage = stages_of(bench)[self._saved["search"]["stage"]]
        self.epoch: int = self._saved["search"]["search_epoch"]
        self.passes: int = self._saved["search"]["epoch_offset"] + self._saved["epoch"] + 1

    def module(
        self, epochs: int = 0, overrides: Mapping[str, Any] | None = None, momentum: bool = True
    ) -> tuple[Workbench, SearchModule]:
        """The search module as it was saved, and its parts; schedules stand where they stood.

        Args:
            epochs: For how many epochs it may be trained on.
            overrides: Dotted keys of the configuration and other values for them.
            momentum: Whether the weight optimizer goes on from its momentum.
        """
        stage = selection_stage(self._stage, Tuning(epochs, dict(overrides or {})))
        bench = bench_of(self._bench, stage)
        module = build_module(bench, stage)
        module.load_state_dict(self._saved["state_dict"])
        module.on_load_checkpoint(self._saved)
        sgd, adam = copy.deepcopy(self._saved["optimizer_states"])  # optimizers go on with the tensors they are given
        module.optimizer_states = [sgd if momentum else {**sgd, "state": {}}, adam]
        module.progress = replace(
            module.progress, first_epoch=self.epoch, last_epoch=self.epoch + epochs, stopped=False
        )
        for part in module.regularizers.values():
            part.at_epoch(module.progress.position)
        return bench, module


def _require_supernet(bench: Workbench) -> None:
    """Say why a run has none, where no epoch of it would do."""
    source = RunFolder(bench.config.run or "", "run")
    searched_as = source.config()
    if searched_as["task"] not in ("pipeline", "search", "select"):
        raise ConfigError(f"run={source}: task={searched_as['task']} has no search; name a run that has searched")
    if not stages_of(bench):
        raise ConfigError(
            f"run={source}: its selector needs no supernet, so none was trained; name a run that has searched by"
            " gradients"
        )
    if searched_as["candidates"]["key"] is not None:
        raise ConfigError(f"run={source}: it searched several times; name one of them, run={source}/candidates/0")


def fit(bench: Workbench, trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule) -> None:
    """Train.

    Raises:
        Interrupted: The user stopped it, or `trainer.max_time` is over; the analysis can be resumed.
    """
    interrupt = callback_of(trainer, InterruptAtEpochEnd)
    with interrupt.listening():
        trainer.fit(module, datamodule=data)
    if interrupt.requested or out_of_time(trainer):
        raise Interrupted(f"stopped in the analysis; continue with resume={bench.folder}")


def show_table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]], caption: str | None = None) -> None:
    """Print a table, the first column left, the others right; it is as wide as it needs to be."""
    table = Table(title=title, caption=caption)
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console = Console()
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)
