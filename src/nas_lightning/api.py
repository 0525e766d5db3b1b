"""The Python API: the tasks as functions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, overload

import pandas as pd
from omegaconf import DictConfig

from nas_lightning.config.compose import as_dict, check_overrides_of_another_run, compose
from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.space import SearchSpace
from nas_lightning.core.terminal import forgiving_output
from nas_lightning.deployment.predicting import Prediction
from nas_lightning.planning import Plan, plan_run, run_plan
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.logs import also_logging_to, quietly
from nas_lightning.spaces import Genotype
from nas_lightning.tasks.export import run_export
from nas_lightning.tasks.genotype import given_genotype
from nas_lightning.tasks.inspect import run_inspection
from nas_lightning.tasks.phases import guarded, run_phases, start
from nas_lightning.tasks.pipeline import config_of_run
from nas_lightning.tasks.predict import run_predict
from nas_lightning.tasks.report import run_report
from nas_lightning.tasks.resume import resume as resume_task
from nas_lightning.training.processes import SPAWNED, number_of_processes
from nas_lightning.training.workbench import Workbench

Config = DictConfig | Mapping[str, Any]


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        genotype: The architecture found.
        summary: Content of summary.json.
        run_dir: Run folder.
    """

    genotype: Genotype
    summary: dict[str, Any]
    run_dir: Path


@dataclass(frozen=True)
class EvaluationResult:
    """The result of an evaluation.

    Attributes:
        test_accuracy: Accuracy on the test images in percent; None where it was not measured.
        summary: Content of summary.json.
        run_dir: Run folder.
        test_metric: Value on the test images of an objective whose metric is no accuracy, in its unit; else None.
    """

    test_accuracy: float | None
    summary: dict[str, Any]
    run_dir: Path
    test_metric: float | None = None


def build_space(cfg: Config) -> SearchSpace:
    """Build the search space of a configuration.

    Raises:
        ConfigError: The configuration is not valid.
    """
    return Workbench(_checked(cfg), _new_folder()).space


def search(cfg: Config, run_dir: str | Path | None = None) -> SearchResult:
    """Search for a genotype.

    Args:
        cfg: A configuration from `compose`.
        run_dir: Folder of the run; None takes outputs/<date>/<time>, as the command line does.

    Raises:
        ConfigError: The configuration, the images or the folder cannot be used.
    """
    folder = _folder_for(cfg, run_dir)
    bench = Workbench(_checked(cfg, task="search"), folder)
    with _at_work(bench):
        summary = run_phases(bench, show=False)
    return SearchResult(Genotype.from_dict(summary["genotype"]), summary, folder.path)


def select(cfg: Config, run_dir: str | Path | None = None) -> SearchResult:
    """Derive a genotype from the supernet of another run.

    Args:
        cfg: A configuration from `compose(["task=select", "run=FOLDER", "selector=perturbation", …])`.
        run_dir: Folder of this run; None takes outputs/<date>/<time>.

    Raises:
        ConfigError: The configuration, the other run or the folder cannot be used.
    """
    folder = _folder_for(cfg, run_dir)
    bench = Workbench(config_of_run(_checked(cfg, task="select")), folder)
    with _at_work(bench):
        summary = run_phases(bench, show=False)
    return SearchResult(Genotype.from_dict(summary["genotype"]), summary, folder.path)


def evaluate(
    cfg: Config, genotype: Genotype | str | None = None, run_dir: str | Path | None = None
) -> EvaluationResult:
    """Evaluate a genotype with the configured evaluator.

    Args:
        cfg: A configuration from `compose`. Where `cfg.genotype` is a run folder, the run's space, method, parts and
            search replace those of `cfg`, also changed ones, which only the command line can tell from defaults.
        genotype: The architecture, or its published name, file or run folder; None takes `cfg.genotype`.
        run_dir: Folder of the run; None takes outputs/<date>/<time>.

    Raises:
        ConfigError: The configuration, the genotype, the images or the folder cannot be used.
    """
    folder = _folder_for(cfg, run_dir)
    bench = Workbench(config_of_run(_checked(cfg, task="evaluate")), folder)
    found = genotype if isinstance(genotype, Genotype) else given_genotype(bench, genotype)
    bench.space.validate(found)
    bench.evaluator.check_genotype(found, bench)
    with _at_work(bench):
        folder.save_genotype(found)
        summary = run_phases(bench, show=False)
    judged = summary["evaluation"]
    return EvaluationResult(judged["test_accuracy"], summary, folder.path, judged.get("test_metric"))


def resume(run_dir: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Resume a run from its last checkpoint; return the summary.

    Args:
        run_dir: The run folder, whose config.yaml is the configuration.
        overrides: Only `trainer.*`, `logger`, the keys of data loading and the places of the same images may differ.

    Raises:
        ConfigError: The folder holds no run, or an override is not allowed.
        MachineError: The disk, the folder or the images fail.
        Interrupted: The user or a signal stopped it; the folder can be resumed.
    """
    RunFolder(run_dir).config()  # refuses a folder without a run before anything is written there
    with quietly(), forgiving_output(), also_logging_to(Path(run_dir)):
        return resume_task(run_dir, overrides)


def analyse(cfg: Config, run_dir: str | Path | None = None) -> dict[str, Any]:
    """Analyse finished searches; return the section `analysis` of the summary.

    Args:
        cfg: A configuration from `compose(["task=analyse", "analysis=strength", "run=FOLDER", …])`.
        run_dir: Folder of this run; None takes outputs/<date>/<time>.

    Raises:
        ConfigError: The configuration, the runs or the folder cannot be used.
    """
    with quietly(), forgiving_output():
        return run_inspection(_checked(cfg, task="analyse"), RunFolder(run_dir or _new_folder().path))["analysis"]


def landscape(cfg: Config, run_dir: str | Path | None = None) -> dict[str, Any]:
    """Measure supernets around their final architecture parameters; return the section `landscape` of the summary.

    Args:
        cfg: A configuration from `compose(["task=landscape", "run=FOLDER", "landscape.steps=11", …])`.
        run_dir: Folder of this run; None takes outputs/<date>/<time>.

    Raises:
        ConfigError: The configuration, the runs or the folder cannot be used.
    """
    with quietly(), forgiving_output():
        return run_inspection(_checked(cfg, task="landscape"), RunFolder(run_dir or _new_folder().path))["landscape"]


def export(
    cfg: Config | str | Path, run_dir: str | Path | None = None, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Export the trained network of a finished run for other programs; return the content of export.json.

    Args:
        cfg: The run folder, or a configuration from `compose(["task=export", "run=FOLDER"])`.
        run_dir: Folder of the files; None takes outputs/<date>/<time>.
        overrides: With a run folder: keys of the task, such as `["export.int8=true"]`.

    Raises:
        ConfigError: The run has no trained network, or the folder cannot be used.
    """
    config = _of_task("export", cfg, overrides, lambda run: {"run": str(run)})
    with quietly(), forgiving_output():
        return run_export(config, RunFolder(run_dir or _new_folder().path))


@overload
def predict(cfg: Config, run_dir: str | Path | None = None) -> list[Prediction]: ...


@overload
def predict(
    cfg: str | Path, images: str | Path, run_dir: str | Path | None = None, overrides: Sequence[str] = ()
) -> list[Prediction]: ...


def predict(  # type: ignore[misc]  # its second argument has two names
    cfg: Config | str | Path,
    images: str | Path | None = None,
    run_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> list[Prediction]:
    """Label image files with the trained network of a finished run or of an export; return a prediction for each.

    Called as `predict(RUN, IMAGES)`, or as `predict(cfg, run_dir)` with a configuration.

    Args:
        cfg: Folder of the run or of the export, or a configuration from
            `compose(["task=predict", "run=FOLDER", "images=FOLDER"])`.
        images: With such a folder: a photo, or a folder of photos.
        run_dir: Folder of predictions.csv; None takes outputs/<date>/<time>.
        overrides: With such a folder: keys of the task, such as `["predict.top=3", "trainer=cpu"]`.

    Raises:
        ConfigError: The run has no trained network, or no image can be read.
    """
    if isinstance(cfg, str | Path):
        if images is None:
            raise ConfigError(f"images=None: which images should {cfg} label? Give nl.predict(RUN, IMAGES)")
    else:
        run_dir = images if run_dir is None else run_dir  # the second argument was always the folder
    config = _of_task("predict", cfg, overrides, lambda run: {"run": str(run), "images": str(images)})
    with quietly(), forgiving_output():
        return run_predict(config, RunFolder(run_dir or _new_folder().path))


def report(
    runs: Config | str | Path | Sequence[str | Path],
    run_dir: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> pd.DataFrame:
    """Write tables, figures and a page of finished runs; return the table of results, a row per method.

    Args:
        runs: A run folder, a glob such as `"multirun/**"`, several of them, or a configuration from
            `compose(["task=report", "runs=GLOB"])`.
        run_dir: Folder of the report; None takes outputs/<date>/<time>.
        overrides: With folders or globs: keys of the task, such as `["baseline=darts"]`.

    Raises:
        ConfigError: There is no run, or the folder cannot be used.
    """
    if not isinstance(runs, str | Path | Mapping | DictConfig):
        patterns = [str(pattern) for pattern in runs]
        config = _of_task("report", "", overrides, lambda _: {"runs": patterns})
    else:
        config = _of_task("report", runs, overrides, lambda pattern: {"runs": str(pattern)})
    with quietly(), forgiving_output():
        return run_report(config, RunFolder(run_dir or _new_folder().path))


def plan(cfg: Config | str | Sequence[str], run_dir: str | Path | None = None) -> Plan:
    """Count the runs and the steps of a command, time each kind of step, and print what it would cost.

    Args:
        cfg: Overrides of the command, which may sweep: `["method=darts,drnas", "seed=0,1", "plan.measure=false"]`; or
            one override; or the configuration of one run.
        run_dir: Folder of plan.csv and steps.csv; None writes none.

    Returns:
        The plan: `runs`, `members` with their `work`, `seconds` of each kind of step, `hours(member)`, `demands`.

    Raises:
        ConfigError: A run is not valid, cannot be planned or does not fit the memory.
        Interrupted: A signal stopped the measurement.
    """
    folder = None if run_dir is None else Path(run_dir)
    with quietly(), forgiving_output():
        if isinstance(cfg, Mapping | DictConfig):
            return plan_run(as_dict(cfg) if isinstance(cfg, DictConfig) else cfg, folder)
        return run_plan([cfg] if isinstance(cfg, str) else list(cfg), folder)


@contextmanager
def _at_work(bench: Workbench) -> Iterator[None]:
    """Start a run, and guard its folder within the block; the terminal shows what the command line would show."""
    with quietly(), forgiving_output():
        start(bench)
        with also_logging_to(bench.folder.path), guarded(bench.folder):
            yield


def _checked(cfg: Config, task: str | None = None) -> RootConfig:
    """Validate a configuration, which a script may have changed since `compose`, with another task if one is given."""
    plain: Mapping[str, Any] = as_dict(cfg) if isinstance(cfg, DictConfig) else cfg
    return validate(plain if task is None else {**plain, "task": task})


def _of_task(
    task: str,
    given: Config | str | Path,
    overrides: Sequence[str],
    values: Callable[[str | Path], Mapping[str, Any]],
) -> RootConfig:
    """Return the configuration of a task on finished runs, which may be given by a path alone.

    Args:
        task: The task.
        given: A configuration, or a path.
        overrides: Further keys, where a path is given.
        values: Values of the configuration for a path; set afterwards, so that no path needs quotes.

    Raises:
        ConfigError: A value is not valid, or there are overrides beside a configuration.
    """
    if not isinstance(given, str | Path):
        if overrides:
            raise ConfigError(f"overrides={list(overrides)}: beside a configuration; give them to nl.compose")
        return _checked(given, task=task)
    words = [f"task={task}", *overrides]
    check_overrides_of_another_run(words)
    return validate({**as_dict(compose(words)), **values(given)})


def _new_folder() -> RunFolder:
    now = datetime.now()
    return RunFolder(Path("outputs") / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S-%f}")


def _folder_for(cfg: Config, run_dir: str | Path | None) -> RunFolder:
    """Return the given folder, or a new one; refuse a new one where several processes run the same script."""
    trainer = (as_dict(cfg) if isinstance(cfg, DictConfig) else cfg)["trainer"]
    if run_dir is None and number_of_processes(trainer) > 1 and trainer.get("strategy") not in SPAWNED:
        raise ConfigError(
            f"run_dir=None: {number_of_processes(trainer)} processes run this script and need the same folder; give"
            " run_dir, or let this process start them with trainer=ddp_spawn"
        )
    return _new_folder() if run_dir is None else RunFolder(run_dir)
