"""The tasks and the Python API."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig
from rich.console import Console

from nas_lightning import ranks, reports
from nas_lightning.composition import as_dict, compose, options
from nas_lightning.configs import BESIDE_THE_EXPERIMENT, LOADING_KEYS, validate
from nas_lightning.deployment.predicting import Prediction
from nas_lightning.draws import seeded_generator
from nas_lightning.errors import ConfigError, Interrupted
from nas_lightning.faults import told
from nas_lightning.lightning.analyses import analysis_bench, name_analysis, run_analysis, start_analysis
from nas_lightning.lightning.callbacks import stopping_at_once
from nas_lightning.lightning.candidates import member_benches, run_candidates
from nas_lightning.lightning.checking import check_search
from nas_lightning.lightning.deploying import run_export, run_predict
from nas_lightning.lightning.landscape import landscape_bench, name_landscape, run_landscape, start_landscape
from nas_lightning.lightning.one_shot import track_progress
from nas_lightning.lightning.processes import (
    SPAWNED,
    check_processes,
    number_of_processes,
    start_here,
    starts_here,
)
from nas_lightning.lightning.searching import origin_checkpoint, run_search
from nas_lightning.lightning.workbench import Workbench
from nas_lightning.privacy import refuse_secrets
from nas_lightning.protocols import SearchSpace
from nas_lightning.run_folder import RunFolder, config_of_another_run, git_commit, versions
from nas_lightning.spaces import Genotype, genotype
from nas_lightning.spaces.choices import Choice
from nas_lightning.spaces.enumeration import architecture

log = logging.getLogger(__name__)
Config = DictConfig | Mapping[str, Any]


@dataclass(frozen=True)
class SearchResult:
    """What a search ends with."""

    genotype: Genotype
    summary: dict[str, Any]
    run_dir: Path


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation ends with; `test_accuracy` in percent."""

    test_accuracy: float | None
    summary: dict[str, Any]
    run_dir: Path


# Python API ---------------------------------------------------------------------------------------------------


def build_space(cfg: Config) -> SearchSpace:
    """The search space of a configuration.

    Raises:
        ConfigError: The configuration is not valid.
    """
    return _bench(cfg, _new_folder()).space


def search(cfg: Config, run_dir: str | Path | None = None) -> SearchResult:
    """Search for a genotype.

    Args:
        cfg: A configuration from `compose`.
        run_dir: Folder of the run; None takes outputs/<date>/<time>, as the command line does.

    Raises:
        ConfigError: The configuration, the images or the folder cannot be used.
    """
    folder = _folder_for(cfg, run_dir)
    bench = _bench({**_plain(cfg), "task": "search"}, folder)
    _start(bench)
    with _guarded(folder):
        summary = _run_phases(bench, show=False)
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
    bench = _bench(_selection_config({**_plain(cfg), "task": "select"}), folder)
    _start(bench)
    with _guarded(folder):
        summary = _run_phases(bench, show=False)
    return SearchResult(Genotype.from_dict(summary["genotype"]), summary, folder.path)


def evaluate(
    cfg: Config, genotype: Genotype | str | None = None, run_dir: str | Path | None = None
) -> EvaluationResult:
    """Judge a genotype with the configured evaluator.

    Args:
        cfg: A configuration from `compose`.
        genotype: The architecture, or its published name, file or run folder; None takes `cfg.genotype`.
        run_dir: Folder of the run; None takes outputs/<date>/<time>.

    Raises:
        ConfigError: The configuration, the genotype, the images or the folder cannot be used.
    """
    folder = _folder_for(cfg, run_dir)
    bench = _bench({**_plain(cfg), "task": "evaluate"}, folder)
    found = genotype if isinstance(genotype, Genotype) else _given_genotype(bench, genotype)
    bench.space.validate(found)
    _start(bench)
    with _guarded(folder):
        folder.save_genotype(found)
        summary = _run_phases(bench, show=False)
    return EvaluationResult(summary["evaluation"]["test_accuracy"], summary, folder.path)


def resume(run_dir: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Continue a run where its last checkpoint left it; returns the summary.

    Args:
        run_dir: The run folder; the configuration comes from it.
        overrides: Only `trainer.*`, `logger` and how data are loaded (`LOADING_KEYS`) may differ.

    Raises:
        ConfigError: The folder holds no run, or an override is not allowed.
        MachineError: The disk, the folder or the images fail.
        Interrupted: The user or a signal stopped it.
    """
    refuse_secrets(overrides)
    folder = RunFolder(run_dir)
    config = folder.config()
    for override in overrides:
        _override_resumed(config, override)
    bench = _bench(config, folder)
    check_processes(config["trainer"], bench.config.task)
    with _guarded(folder):
        _name_again(bench)
        return _run_phases(bench)


def analyse(cfg: Config, run_dir: str | Path | None = None) -> dict[str, Any]:
    """Look at finished searches; returns the section `analysis` of the summary.

    Args:
        cfg: A configuration from `compose(["task=analyse", "analysis=strength", "run=FOLDER", …])`.
        run_dir: Folder of this run; None takes outputs/<date>/<time>.

    Raises:
        ConfigError: The configuration, the runs or the folder cannot be used.
    """
    return _look({**_plain(cfg), "task": "analyse"}, RunFolder(run_dir or _new_folder().path))["analysis"]


def landscape(cfg: Config, run_dir: str | Path | None = None) -> dict[str, Any]:
    """Measure supernets around the architecture parameters found; returns the section `landscape` of the summary.

    Args:
        cfg: A configuration from `compose(["task=landscape", "run=FOLDER", "landscape.steps=11", …])`.
        run_dir: Folder of this run; None takes outputs/<date>/<time>.

    Raises:
        ConfigError: The configuration, the runs or the folder cannot be used.
    """
    return _look({**_plain(cfg), "task": "landscape"}, RunFolder(run_dir or _new_folder().path))["landscape"]


def export(cfg: Config, run_dir: str | Path | None = None) -> dict[str, Any]:
    """Write the trained network of a finished run for other programs; returns what export.json holds.

    Args:
        cfg: A configuration from `compose(["task=export", "run=FOLDER"])`.
        run_dir: Folder of the files; None takes outputs/<date>/<time>.

    Raises:
        ConfigError: The run has no trained network, or the folder cannot be used.
    """
    return run_export({**_plain(cfg), "task": "export"}, RunFolder(run_dir or _new_folder().path))


def predict(cfg: Config, run_dir: str | Path | None = None) -> list[Prediction]:
    """Label image files with the trained network of a finished run, or of an export.

    Args:
        cfg: A configuration from `compose(["task=predict", "run=FOLDER", "images=FOLDER"])`.
        run_dir: Folder of predictions.csv; None takes outputs/<date>/<time>.

    Raises:
        ConfigError: The run has no trained network, or no image can be read.
    """
    return run_predict({**_plain(cfg), "task": "predict"}, RunFolder(run_dir or _new_folder().path))


# Tasks --------------------------------------------------------------------------------------------------------


def run_task(config: Mapping[str, Any], folder: RunFolder) -> dict[str, Any] | None:
    """Run the configured task in a new folder; returns the summary of a run, None of a task that is no run."""
    return TASKS[validate(config).task](config, folder)


@contextmanager
def _guarded(folder: RunFolder) -> Iterator[None]:
    """Say in one line what ended a run from outside, and how to go on."""
    try:
        with folder.locked(), stopping_at_once(folder), told(folder):
            yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped at once; continue with resume={folder}") from error


def _name_again(bench: Workbench) -> None:
    """Write the part of the summary that says which run this is, where a kill came before it."""
    if (bench.folder.path / "summary.json").exists():
        return
    looking = LOOKING.get(bench.config.task)
    (looking.name if looking is not None else _name)(bench)


def continue_task(config: Mapping[str, Any], folder: RunFolder) -> tuple[dict[str, Any] | None, bool]:
    """Run the configured task, or what is left of it, in a folder that may be a sweep's of before.

    Returns:
        The summary of the run, and whether it had been finished before.

    Raises:
        ConfigError: As `run_task`, and where the folder holds a run and `skip_finished` is false.
    """
    if not ranks.is_first():
        return _follow(folder)
    if not (folder.path / "config.yaml").exists():
        return run_task(config, folder), False
    if not config["skip_finished"] and not queued_again(config, folder):
        raise ConfigError(
            f"skip_finished=false: {folder} already holds a run; use skip_finished=true, or another name, sweep=NAME"
        )
    if folder.summary()["task"] is None:  # cut off between the two files: nothing is lost
        (folder.path / "config.yaml").unlink()
        return run_task(config, folder), False
    if is_finished(folder.summary()):
        return folder.summary(), True
    return resume(folder.path), False


def queued_again(config: Mapping[str, Any], folder: RunFolder) -> bool:
    """Whether submitit has put this job into the queue again: then its folder already holds this very run."""
    in_job = "SUBMITIT_EXECUTOR" in os.environ
    return in_job and (folder.path / "config.yaml").exists() and folder.config() == config


def _follow(folder: RunFolder) -> tuple[dict[str, Any], bool]:
    """What a process beside the first does for a member of a sweep: what the first has decided.

    Raises:
        RuntimeError: The first has decided nothing.
    """
    end = time.monotonic() + FOLLOWING_SECONDS
    while folder.summary()["task"] is None:
        if time.monotonic() > end:
            raise RuntimeError(f"{folder}: the first process of the run has not started it")
        time.sleep(0.2)
    if is_finished(folder.summary()):
        return folder.summary(), True
    bench = _bench(folder.config(), folder)
    with _guarded(folder):
        return _run_phases(bench), False


FOLLOWING_SECONDS = 600
"""How long a process waits for the first one of its run."""

LAST_PART = {
    "pipeline": "evaluation",
    "evaluate": "evaluation",
    "search": "search",
    "select": "search",
    "analyse": "analysis",
    "landscape": "landscape",
}
"""The part of its summary that a task ends with."""


def is_finished(summary: Mapping[str, Any]) -> bool:
    """Whether a run has done all of its task."""
    return summary.get(LAST_PART[summary["task"]]) is not None


def _run_phases(bench: Workbench, show: bool = True) -> dict[str, Any]:
    """The phases that are not done yet."""
    if bench.config.task in LOOKING:
        return LOOKING[bench.config.task].run(bench)
    if starts_here(bench.plain["trainer"]):
        start_here(_run_rank, bench.plain, bench.folder.path)
        summary = bench.folder.summary()
    else:
        summary = _run_here(bench)
    if show and ranks.is_first():
        reports.show_outcome(summary, str(bench.folder))
    return summary


def _run_rank(config: dict[str, Any], path: Path) -> None:
    """The phases in one of the processes of a run."""
    with _guarded(RunFolder(path)):
        _run_here(_bench(config, RunFolder(path)))


def _run_here(bench: Workbench) -> dict[str, Any]:
    """The phases in this process, which may be one of several: all compute the same, the first one writes."""
    folder, task = bench.folder, bench.config.task
    summary = folder.summary()
    found: Genotype | None = None
    with bench.loggers:
        if task in ("pipeline", "search", "select") and summary["search"] is None:
            summary = _search(bench)
            found = Genotype.from_dict(summary["genotype"])  # not from the file, which the first process writes
        if task in ("pipeline", "evaluate") and summary["evaluation"] is None:
            if found is None and (folder.path / "genotype.json").exists():
                found = folder.genotype()
            elif found is None:
                found = _given_genotype(bench)
                folder.save_genotype(found)
            summary = _evaluate(bench, found)
    ranks.wait()
    return summary


def _run_member(member: Workbench) -> dict[str, Any]:
    """A candidate's run, as far as it is not done yet: a finished one is only read."""
    console = Console()
    if (member.folder.path / "config.yaml").exists():
        _name_again(member)
    else:
        _start(member)
    if ranks.is_first():
        console.print(f"candidate: {member.folder}", highlight=False, soft_wrap=True)
    return _run_phases(member, show=False)


def _start(bench: Workbench) -> None:
    """Build everything that can be refused, then make the folder this run's own."""
    check_processes(bench.plain["trainer"], bench.config.task)
    if bench.config.task in ("pipeline", "search"):
        members = member_benches(bench)
        for candidate in members or [bench]:
            check_search(candidate)
        for member in members:
            member.build("evaluation", member.plain["evaluation"]).check(member)
    if bench.config.task == "select":
        check_search(bench)
        origin_checkpoint(bench)
    if bench.config.task in ("pipeline", "evaluate"):
        bench.build("evaluation", bench.plain["evaluation"]).check(bench)
    bench.trainer("check", 1, bench.folder.checkpoints, max_epochs=1)  # a Trainer refuses much by itself
    bench.folder.claim(bench.plain)
    with told(bench.folder):
        _name(bench)


def _name(bench: Workbench) -> None:
    """Write the part of the summary that says which run this is."""
    objective = bench.objective
    bench.folder.update_summary(
        task=bench.config.task,
        method=_label(bench),
        space=bench.space.name,
        data=bench.data.name,
        seed=bench.config.seed,
        objective={"metric": objective.metric, "unit": objective.unit, "direction": objective.direction},
        versions=versions(),
        git_commit=git_commit(),
        config_hash=_comparable_hash(bench.plain),
    )


def _label(bench: Workbench) -> str:
    """The method, or, where a given genotype is judged, what it is called: no search of ours found it here."""
    name = bench.config.genotype
    if bench.config.task != "evaluate" or name is None:
        return bench.config.method
    summary = RunFolder(name).summary() if Path(name).is_dir() else {}
    return summary.get("method") or Path(name).stem


DECISIVE = (
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches", "fast_dev_run"),
    *("precision", "sync_batchnorm"),
)
"""Arguments of the Trainer that decide a result."""


def _comparable_hash(plain: Mapping[str, Any]) -> str:
    """Hash of everything in the configuration that two runs must share to be averaged over."""
    shared = {key: value for key, value in plain.items() if key not in BESIDE_THE_EXPERIMENT}
    trainer = plain["trainer"]
    decisive = {key: trainer[key] for key in DECISIVE if trainer.get(key) not in (None, False, 0, 1.0, "32-true", "32")}
    count = number_of_processes(trainer)
    shared |= {"trainer": {**decisive, **({"processes": count} if count > 1 else {})}} if decisive or count > 1 else {}
    if plain["control"]:  # what steers the search follows what was measured
        shared["callbacks"] = plain["callbacks"]
    # How a run is saved changes nothing in it; runs of before have no such key.
    for section in ("search", "evaluation"):
        shared[section] = {key: value for key, value in plain[section].items() if key != "checkpoint_minutes"}
    shared["data"] = {k: v for k, v in plain["data"].items() if k not in (*LOADING_KEYS, "root", "download")}
    return hashlib.blake2b(json.dumps(shared, sort_keys=True).encode(), digest_size=4).hexdigest()


def _search(bench: Workbench) -> dict[str, Any]:
    bench.loggers.start()
    if bench.config.candidates.key is not None:
        genotype, search, selection, members = run_candidates(bench, _run_member)
        return bench.folder.update_summary(
            genotype=genotype.to_dict(), search=search, selection=selection, candidates=members
        )
    found = run_search(bench)
    summary = bench.folder.update_summary(
        genotype=found.genotype.to_dict(), search=found.search, selection=found.selection
    )
    _draw_curves(bench.folder)
    return summary


def _evaluate(bench: Workbench, found: Genotype) -> dict[str, Any]:
    bench.loggers.start()
    evaluator = bench.build("evaluation", bench.plain["evaluation"])
    result = evaluator(found, bench)
    summary = bench.folder.update_summary(genotype=found.to_dict(), evaluation=result)
    _draw_curves(bench.folder)
    return summary


@ranks.first_only
def _draw_curves(folder: RunFolder) -> None:
    reports.save_curves(folder.metrics, folder.plots)


def _run(config: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Search, selection, retraining: what the task has of them."""
    task = config["task"]
    bench = _bench(_selection_config(config) if task == "select" else config, folder)
    if task == "evaluate":
        _given_genotype(bench)  # refused before anything is written
    _start(bench)
    with _guarded(folder):
        return _run_phases(bench)


@dataclass(frozen=True)
class Looking:
    """A task that looks at finished searches in a run folder of its own, and can be resumed."""

    bench: Callable[[Mapping[str, Any], RunFolder], Workbench]
    start: Callable[[Workbench], None]
    name: Callable[[Workbench], None]
    run: Callable[[Workbench], dict[str, Any]]


LOOKING = {
    "analyse": Looking(analysis_bench, start_analysis, name_analysis, run_analysis),
    "landscape": Looking(landscape_bench, start_landscape, name_landscape, run_landscape),
}


def _look(config: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    looking = LOOKING[config["task"]]
    bench = looking.bench(config, folder)
    check_processes(bench.plain["trainer"], bench.config.task)
    looking.start(bench)
    with _guarded(folder):
        return looking.run(bench)


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
    folder = RunFolder(path)
    return _bench(folder.config("runs"), folder).space.choices


def _export(config: Mapping[str, Any], folder: RunFolder) -> None:
    run_export(config, folder)


def _predict(config: Mapping[str, Any], folder: RunFolder) -> None:
    run_predict(config, folder)


SELECTED = ("selector", "trainer", "logger", "epoch", "tags", "trusted", "sweep", "skip_finished", "candidates")
"""What `task=select` takes from its own command; everything else is what the other run was searched with."""


def _selection_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The other run's configuration with this command's selector.

    Raises:
        ConfigError: No other run is named, or it cannot be used.
    """
    if config["run"] is None:
        raise ConfigError("run=null: task=select needs the folder of a search; give run=outputs/DATE/TIME")
    merged = config_of_another_run(config, SELECTED)
    validate(merged)
    return merged


def _convert(config: Mapping[str, Any], folder: RunFolder) -> None:
    """Make a plain file of a benchmark's official ones."""
    bench = _bench(config, folder)
    if bench.config.convert is None:
        raise ConfigError(f"convert=null: task=convert needs to know what; choose {' or '.join(options('convert'))}")
    target = bench.build("convert", bench.config.convert)(track_progress)
    Console().print(f"written: {target}", highlight=False, soft_wrap=True)


TASKS: dict[str, Callable[[Mapping[str, Any], RunFolder], dict[str, Any] | None]] = {
    **dict.fromkeys(("pipeline", "search", "select", "evaluate"), _run),
    **dict.fromkeys(LOOKING, _look),
    "report": _report,
    "convert": _convert,
    "export": _export,
    "predict": _predict,
}
"""What each task does with its configuration and folder."""


def _given_genotype(bench: Workbench, name: str | None = None) -> Genotype:
    """The genotype that the configuration names, checked against the space."""
    name = name or bench.config.genotype
    if name is None:
        raise ConfigError(
            "genotype=null: task=evaluate needs one; give a published name, a JSON file, a run folder, a number or"
            " random, for instance genotype=darts_v2 space=darts"
        )
    if name == "random":
        return random_genotype(bench.space, bench.config.seed)
    if name.isdecimal():
        return architecture(bench.space, int(name))
    found = genotype(name)
    bench.space.validate(found)
    return found


def random_genotype(space: SearchSpace, seed: int) -> Genotype:
    """A genotype of uniform random strengths: the baseline that a search has to beat."""
    rng = seeded_generator(seed, "random genotype")
    return space.genotype(
        {name: torch.rand(choice.num_rows, choice.num_options, generator=rng) for name, choice in space.choices.items()}
    )


def _bench(cfg: Config, folder: RunFolder) -> Workbench:
    return Workbench(_plain(cfg), folder)


def _plain(cfg: Config) -> dict[str, Any]:
    return as_dict(cfg) if isinstance(cfg, DictConfig) else dict(cfg)


def _new_folder() -> RunFolder:
    now = datetime.now()
    return RunFolder(Path("outputs") / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S-%f}")


def _folder_for(cfg: Config, run_dir: str | Path | None) -> RunFolder:
    """The folder that is named, or a new one; several processes that run the same script need a name."""
    trainer = _plain(cfg)["trainer"]
    if run_dir is None and number_of_processes(trainer) > 1 and trainer.get("strategy") not in SPAWNED:
        raise ConfigError(
            f"run_dir=None: {number_of_processes(trainer)} processes run this script and need one folder; give run_dir,"
            " or start them from here with trainer=ddp_spawn"
        )
    return _new_folder() if run_dir is None else RunFolder(run_dir)


def _override_resumed(config: dict[str, Any], override: str) -> None:
    key, _, text = override.lstrip("+").partition("=")
    if key == "logger":
        added = as_dict(compose([override]))["logger"]
        config["logger"] = {**config["logger"], **added} if override.startswith("+") else added
        return
    loading = [f"data.{name}" for name in LOADING_KEYS]
    allowed = key.startswith("trainer.") or key in loading or key.split(".")[0] == "logger"
    if not allowed:
        raise ConfigError(
            f"{override}: a resumed run keeps its configuration; only trainer.*, logger.* and {', '.join(loading)}"
            " may differ, or start a new run without resume="
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override}: '{text}' cannot be read as a value") from error
    node = config
    *path, last = key.split(".")
    for name in path:
        node = node.setdefault(name, {}) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise ConfigError(f"{override}: there is no such key")
    if path == ["trainer"] and last in DECISIVE and node.get(last) != value:
        log.warning("%s: from here on this is another experiment than that of config.yaml", override)
    node[last] = value
