"""Going on: a run that was cut off, and the members of a sweep that is run again."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from nas_lightning.config.compose import as_dict, compose
from nas_lightning.config.schema import LOADING_KEYS, RootConfig, validate
from nas_lightning.config.secrets import refuse_secrets
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.identity import DECISIVE, name_again, name_run
from nas_lightning.tasks.inspect import INSPECTIONS
from nas_lightning.tasks.phases import guarded, run_phases
from nas_lightning.tasks.run import run_task
from nas_lightning.training.processes import check_processes
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)


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
    bench = Workbench(config, folder)
    check_processes(bench.config.trainer, bench.config.task)
    inspection = INSPECTIONS.get(bench.config.task)
    with guarded(folder):
        name_again(bench, name_run if inspection is None else inspection.name)
        return run_phases(bench) if inspection is None else inspection.run(bench)


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


def continue_task(config: RootConfig | Mapping[str, Any], folder: RunFolder) -> tuple[dict[str, Any] | None, bool]:
    """Run the configured task, or what is left of it, in a folder that may be a sweep's of before.

    Returns:
        The summary of the run, and whether it had been finished before.

    Raises:
        ConfigError: As `run_task`, and where the folder holds a run and `skip_finished` is false.
    """
    if not ranks.is_first():
        return _follow(folder)
    config = validate(config)
    if not folder.holds_run:
        return run_task(config, folder), False
    if not config.skip_finished and not queued_again(config, folder):
        raise ConfigError(
            f"skip_finished=false: {folder} already holds a run; use skip_finished=true, or another name, sweep=NAME"
        )
    if folder.summary()["task"] is None:  # cut off between the two files: nothing is lost
        (folder.path / layout.CONFIG).unlink()
        return run_task(config, folder), False
    if is_finished(folder.summary()):
        return folder.summary(), True
    return resume(folder.path), False


def queued_again(config: RootConfig, folder: RunFolder) -> bool:
    """Whether submitit has put this job into the queue again: then its folder already holds this very run."""
    in_job = "SUBMITIT_EXECUTOR" in os.environ
    return in_job and folder.holds_run and folder.config() == config.to_dict()


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
    bench = Workbench(folder.config(), folder)
    with guarded(folder):
        return run_phases(bench), False


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
