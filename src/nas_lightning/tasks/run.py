"""What each task does with its configuration and its folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from nas_lightning import reports
from nas_lightning.config.compose import as_dict, compose, options
from nas_lightning.config.schema import validate
from nas_lightning.core.choices import Choice
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.one_shot import track_progress
from nas_lightning.tasks.analyse import LOOKING, look
from nas_lightning.tasks.deploy import run_export, run_predict
from nas_lightning.tasks.phases import given_genotype, guarded, run_phases, selection_config, start
from nas_lightning.training.workbench import Workbench


def run_task(config: Mapping[str, Any], folder: RunFolder) -> dict[str, Any] | None:
    """Run the configured task in a new folder; returns the summary of a run, None of a task that is no run."""
    return TASKS[validate(config).task](config, folder)


def _run(config: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Search, selection, retraining: what the task has of them."""
    task = config["task"]
    bench = Workbench(selection_config(config) if task == "select" else config, folder)
    if task == "evaluate":
        given_genotype(bench)  # refused before anything is written
    start(bench)
    with guarded(folder):
        return run_phases(bench)


def _report(config: Mapping[str, Any], folder: RunFolder) -> None:
    if config["runs"] is None:
        raise ConfigError("runs=null: task=report needs run folders; give a glob, runs='multirun/**'")
    compared = None
    if config.get("baseline") is not None:
        compared = reports.comparison.compare(reports.collect(config["runs"]), config["baseline"])
    table, paths = reports.write_report(
        config["runs"],
        folder.path,
        lambda words: as_dict(compose(words)),
        _choices_of_run,
        None if compared is None else reports.comparison.sheet(compared),
    )
    reports.show(table)
    if compared is not None:
        reports.comparison.show(compared)
        paths += reports.comparison.write(compared, folder.path)
    shown = [path for path in paths if path.parent == folder.path]
    for path in shown:
        Console().print(f"written: {path}", highlight=False, soft_wrap=True)
    Console().print(f"and {len(paths) - len(shown)} figures and tables beside them", highlight=False)


def _choices_of_run(path: Path) -> Mapping[str, Choice]:
    folder = RunFolder(path, "runs")
    return Workbench(folder.config(), folder).space.choices


def _export(config: Mapping[str, Any], folder: RunFolder) -> None:
    run_export(config, folder)


def _predict(config: Mapping[str, Any], folder: RunFolder) -> None:
    run_predict(config, folder)


def _convert(config: Mapping[str, Any], folder: RunFolder) -> None:
    """Make a plain file of a benchmark's official ones."""
    bench = Workbench(config, folder)
    if bench.config.convert is None:
        raise ConfigError(f"convert=null: task=convert needs to know what; choose {' or '.join(options('convert'))}")
    target = bench.build("convert", bench.config.convert)(track_progress)
    Console().print(f"written: {target}", highlight=False, soft_wrap=True)


TASKS: dict[str, Callable[[Mapping[str, Any], RunFolder], dict[str, Any] | None]] = {
    **dict.fromkeys(("pipeline", "search", "select", "evaluate"), _run),
    **dict.fromkeys(LOOKING, look),
    "report": _report,
    "convert": _convert,
    "export": _export,
    "predict": _predict,
}
"""What each task does with its configuration and folder."""
