"""Supernets of any number of runs: find them, and measure each once."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nas_lightning import reports
from nas_lightning.analyses.base import TAKEN, Allowance, Origin
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.objective import Goal
from nas_lightning.runs.folder import RunFolder, config_of_another_run
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Supernet:
    """The supernet of one run.

    Args:
        run: The run folder.
        bench: The parts of the run, under this command's trainer.
        origin: The supernet.
    """

    run: RunFolder
    bench: Workbench
    origin: Origin

    @property
    def goal(self) -> Goal:
        """What the run reports."""
        return Goal.of(self.run.summary())

    @property
    def labels(self) -> dict[str, Any]:
        """Return the first columns of a table: the run, and the search epochs of its supernet."""
        config = self.bench.config
        return {
            "run": str(self.run.path.resolve()),
            "method": config.method,
            "space": self.bench.space.name,
            "data": self.bench.data.name,
            "seed": config.seed,
            "epoch": self.origin.epoch,
        }


def supernets(bench: Workbench, check: Callable[[Supernet], object]) -> Iterator[Supernet]:
    """Yield the supernet of the run that `run` names, or of each run that `runs` finds; log the runs without one.

    Args:
        bench: The parts of the analysis.
        check: Raises ConfigError for a supernet that cannot be analysed.

    Raises:
        ConfigError: No run is given or found, or the run that `run` names, or every run, has no such supernet.
    """
    runs, run = bench.config.runs, bench.config.run
    if runs is None and run is None:
        name = (bench.config.analysis or {})["_target_"].rpartition(".")[2].lower()
        raise ConfigError(
            f"run=null: analysis={name} needs the supernets of searches; give run=outputs/DATE/TIME, or a glob of"
            " run folders, runs='multirun/**'"
        )
    paths: list[str] = [run or ""] if runs is None else list(reports.collect(runs)["run"])
    reasons: list[str] = []
    for path in paths:
        try:
            config = config_of_another_run({**bench.config.to_dict(), "run": path}, TAKEN)
            source = Workbench(config, bench.folder)
            found = Supernet(RunFolder(path, "run"), source, Origin(source))
            check(found)
        except ConfigError as error:
            if runs is None:
                raise
            log.warning("skipped %s: %s", path, error)
            reasons.append(str(error))
            continue
        yield found
    if len(reasons) == len(paths):
        raise ConfigError(f"runs={runs}: none of {len(paths)} runs keeps a supernet that can be analysed; {reasons[0]}")


def measure_all(
    bench: Workbench,
    table: Sequence[dict[str, Any]],
    measure: Callable[[Supernet], Sequence[dict[str, Any]]],
    check: Callable[[Supernet], object],
) -> list[dict[str, Any]]:
    """Measure the supernets that the table lacks, and save the table after each.

    A search that diverged is logged and skipped, unless it is the one that `run` names.

    Args:
        bench: The parts of the analysis.
        table: Rows measured so far; they have the columns of `Supernet.labels`.
        measure: Returns the further columns of the rows of one supernet; raises GenotypeError if the search diverged.
        check: As in `supernets`.

    Returns:
        All rows, measured before and now.

    Raises:
        ConfigError: As in `supernets`, or no supernet can be measured.
        GenotypeError: The search of the run that `run` names diverged.
    """
    rows = list(table)
    done = {row["run"] for row in rows}
    reason = ""
    allowance = Allowance(bench)
    for supernet in supernets(bench, check):
        if supernet.labels["run"] in done:
            continue
        allowance.begin()
        try:
            found = measure(supernet)
        except GenotypeError as error:
            if bench.config.runs is None:
                raise
            log.warning("skipped %s: %s", supernet.run, error)
            reason = str(error)
            continue
        rows += [{**supernet.labels, **row} for row in found]
        bench.folder.save_analysis(rows)
    if not rows:
        raise ConfigError(f"runs={bench.config.runs}: no supernet can be measured; {reason}")
    return rows
