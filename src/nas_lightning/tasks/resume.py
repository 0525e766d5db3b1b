"""Resume interrupted runs, and continue the members of a sweep that is started a second time."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas_lightning.config.compose import as_dict, compose, hydra_settings
from nas_lightning.config.overriding import key_of, override
from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.config.secrets import refuse_secrets
from nas_lightning.config.sections import LOADING_KEYS, MOVABLE
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs import layout
from nas_lightning.runs.completeness import missing
from nas_lightning.runs.folder import RunFolder
from nas_lightning.sweeps.jobs import launcher_words
from nas_lightning.tasks import images
from nas_lightning.tasks.identity import DECISIVE, ensure_named, name_run
from nas_lightning.tasks.inspect import INSPECTIONS
from nas_lightning.tasks.phases import guarded, run_phases
from nas_lightning.tasks.pipeline import config_of_run
from nas_lightning.tasks.run import run_task
from nas_lightning.training.processes import check_processes
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)


def resume(run_dir: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Resume a run from its last checkpoint; return the summary.

    Args:
        run_dir: The run folder, whose config.yaml is the configuration.
        overrides: Only `trainer.*`, `logger`, the data loading keys (`LOADING_KEYS`) and the places of the same images
            (`MOVABLE`) may differ, and a launcher of Hydra may be chosen.

    Raises:
        ConfigError: The folder holds no run, or an override is not allowed.
        MachineError: The disk, the folder or the images fail.
        Interrupted: The user or a signal stopped it; the folder can be resumed.
    """
    refuse_secrets(overrides)
    folder = RunFolder(run_dir)
    config = folder.config()
    moved = [word for word in overrides if key_of(word) in MOVABLE]
    for word in overrides:
        if word not in moved:
            _override_resumed(config, word)
    launching = launcher_words(overrides)
    if launching:
        hydra_settings(launching)  # refuses a launcher that there is not
    bench = Workbench(validate(config).composed_from(overrides), folder)
    images.move(bench, moved)
    check_processes(bench.config.trainer, bench.config.task)
    inspection = INSPECTIONS.get(bench.config.task)
    with guarded(folder):
        ensure_named(bench, name_run if inspection is None else inspection.name)
        if inspection is not None:
            if moved:
                images.recheck(bench)
            return inspection.run(bench)
        if moved or not is_finished(folder.summary()):
            images.recheck(bench)
        return run_phases(bench)


def _override_resumed(config: dict[str, Any], word: str) -> None:
    """Apply one override to the plain configuration of a resumed run, which Hydra does not compose."""
    key = key_of(word)
    if key.startswith(("hydra/launcher", "hydra.launcher")):  # of the command, not of the configuration
        return
    # As in Hydra, `logger=` replaces all loggers and `+logger=` adds to them.
    if key == "logger" and not word.startswith("~"):
        added = as_dict(compose([word]))["logger"]
        config["logger"] = {**config["logger"], **added} if word.startswith("+") else added
        return
    loading = ["graph", "evaluation.graph", *(f"data.{name}" for name in LOADING_KEYS)]
    allowed = key.startswith("trainer.") or key in loading or key.split(".")[0] == "logger"
    if key == "trainer":
        raise ConfigError(_keys_of_trainer(config, word))
    if not allowed:
        raise ConfigError(
            f"{word}: a resumed run keeps its configuration; only trainer.*, logger.*, hydra/launcher"
            f" and {', '.join((*loading, *MOVABLE))} may differ. For anything else start a new run: the command of this"
            f" one with {word}; to train its genotype again, also task=evaluate genotype=FOLDER"
        )
    name = key.partition(".")[2]
    before = config["trainer"].get(name)
    override(config, word)
    if key.startswith("trainer.") and name in DECISIVE and config["trainer"].get(name) != before:
        log.warning("%s: the resumed run differs from the experiment in config.yaml", word)


def _keys_of_trainer(config: dict[str, Any], word: str) -> str:
    """Return the line that refuses a group in the place of single keys, with the keys in which the two differ."""
    wanted = as_dict(compose([word]))["trainer"]
    differing = {name: value for name, value in wanted.items() if config["trainer"].get(name) != value}
    keys = " ".join(f"trainer.{name}={'null' if value is None else value}" for name, value in differing.items())
    if not keys:
        return f"{word}: this run has these values already; leave it out"
    return f"{word}: a resumed run keeps its trainer, of which single keys may differ; write {keys} in its place"


def continue_task(config: RootConfig | Mapping[str, Any], folder: RunFolder) -> tuple[dict[str, Any] | None, bool]:
    """Run or resume the configured task in a folder that an earlier start of the sweep may have used.

    Returns:
        The summary of the run, and True if it was finished before.

    Raises:
        ConfigError: As `run_task`; or the folder holds a run and `skip_finished` is false.
    """
    # Only rank 0 decides from the files of the folder; other ranks could read them before or after it writes.
    if not ranks.is_first():
        return _follow(folder)
    config = validate(config)
    if not folder.holds_run:
        return run_task(config, folder), False
    if not config.skip_finished and not is_requeued(config, folder):
        raise ConfigError(
            f"skip_finished=false: {folder} already holds a run; use skip_finished=true, or another name, sweep=NAME"
        )
    if folder.summary()["task"] is None:  # killed between config.yaml and summary.json: nothing is lost
        (folder.path / layout.CONFIG).unlink()
        return run_task(config, folder), False
    if is_finished(folder.summary()):
        return folder.summary(), True
    return resume(folder.path), False


def is_requeued(config: RootConfig, folder: RunFolder) -> bool:
    """Return True if submitit has requeued this job, whose folder then holds a run of the same configuration."""
    in_job = "SUBMITIT_EXECUTOR" in os.environ
    return in_job and folder.holds_run and folder.config() == config_of_run(config).to_dict()


def _follow(folder: RunFolder) -> tuple[dict[str, Any], bool]:
    """Join, on a rank other than 0, the member of a sweep that rank 0 has started or found finished.

    Raises:
        RuntimeError: Rank 0 has not named the run within `FOLLOWING_SECONDS`.
    """
    end = time.monotonic() + FOLLOWING_SECONDS
    while folder.summary()["task"] is None:
        if time.monotonic() > end:
            raise RuntimeError(f"{folder}: rank 0 has not started the run")
        time.sleep(0.2)
    if is_finished(folder.summary()):
        return folder.summary(), True
    bench = Workbench(folder.config(), folder)
    with guarded(folder):
        return run_phases(bench), False


FOLLOWING_SECONDS = 600
"""Seconds for which a rank waits for rank 0 to start the run."""


def is_finished(summary: Mapping[str, Any]) -> bool:
    """Return True if the run has finished its task; False where it was killed before its summary named one."""
    return missing(summary) is None
