"""The command line: words to tasks, errors to exit codes."""

import difflib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from nas_lightning.cli.help import show_help
from nas_lightning.cli.listing import show_list
from nas_lightning.cli.origin import words_of_origin
from nas_lightning.cli.places import check_places
from nas_lightning.config import compose as composing
from nas_lightning.config.overriding import value_of
from nas_lightning.config.schema import RootConfig, check_read, validate
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError, FaultError, Interrupted, NasLightningError, exit_code
from nas_lightning.core.part import place_of_fault
from nas_lightning.core.paths import exists, path_of
from nas_lightning.core.signals import NOTHING_TO_SAVE, ending_in_one_line
from nas_lightning.core.terminal import forgiving_output
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.layout import CONFIG, log_name
from nas_lightning.runs.logs import log_to, quiet
from nas_lightning.sweeps.grammar import check_single, first_member, limited
from nas_lightning.sweeps.resolvers import register_resolvers
from nas_lightning.sweeps.run import run_sweep

log = logging.getLogger(__name__)


HYDRA_FLAGS = ("--help", "--multirun", "--hydra-help", "--resolve", "--run", "--info", "--shell-completion")
"""Flags without a value: ours, and those passed on to Hydra."""


@dataclass
class Arguments:
    """The parsed command line."""

    overrides: list[str]
    flags: list[str]
    config_dir: str | None = None
    multirun: bool = False
    help: bool = False


def parse(argv: Sequence[str]) -> Arguments:
    """Split the command line into overrides and flags."""
    parsed = Arguments([], [])
    # `--flag=value` is `--flag value`; overrides (`key=value`) stay whole.
    split = [part for word in argv for part in (word.split("=", 1) if word.startswith("--") else [word])]
    words = iter(split)
    for word in words:
        if word in ("-h", "--help"):
            parsed.help = True
        elif word in ("-m", "--multirun"):
            parsed.multirun = True
        elif word in ("--config-dir", "-cd"):
            parsed.config_dir = _value_of(word, words)
        elif word in ("--cfg", "-c", "--package", "-p"):
            parsed.flags += [word, _value_of(word, words)]
        elif word.startswith("-"):
            if word not in HYDRA_FLAGS:
                raise _unknown_flag(word, argv)
            parsed.flags.append(word)
        else:
            parsed.overrides.append(word)
    return parsed


def _unknown_flag(flag: str, argv: Sequence[str]) -> ConfigError:
    """Return the error about a word with hyphens: a key that needs none, or a flag that does not exist."""
    flags = ", ".join((*HYDRA_FLAGS, "--config-dir DIR", "--cfg job"))
    given = next((word for word in argv if word.startswith(f"{flag}=")), flag)
    near = difflib.get_close_matches(flag, [*HYDRA_FLAGS, "--config-dir", "--cfg", "--package"], n=1, cutoff=0.75)
    if near:
        return ConfigError(f"{flag}: unknown, did you mean {near[0]}? allowed: {flags}")
    bare = given.lstrip("-")
    word = bare if "=" in bare else f"{bare}=VALUE"
    return ConfigError(
        f"{given}: keys have no hyphens in front, write {word} (in the command of a W&B sweep ${{args_no_hyphens}},"
        f" not ${{args}}); flags: {flags}"
    )


def _value_of(flag: str, words: Iterator[str]) -> str:
    value = next(words, None)
    if value is None:
        raise ConfigError(f"{flag} needs a value, for instance {flag} {'mine' if 'dir' in flag else 'job'}")
    return value


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of run.py and of the console script. Exit codes: 0, 2 (user), 130 (interrupted), 1 (fault)."""
    with forgiving_output():
        try:
            _check_working_folder()
            with ending_in_one_line():
                _main(parse(sys.argv[1:] if argv is None else argv))
        except (Interrupted, KeyboardInterrupt) as error:
            _leave(130, str(error) or f"stopped by Ctrl-C; {NOTHING_TO_SAVE}")
        except Exception as error:
            _leave(*exit_code(error))


def _check_working_folder() -> None:
    """Refuse a working folder that is gone: every path of a command is relative to it.

    Raises:
        ConfigError: It has been deleted, or is not allowed to be read.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the working folder is gone ({error.strerror}): it was deleted, or made anew under the same name; cd to a"
            " folder that exists, also if its name is the same"
        ) from error


def _leave(code: int, line: str) -> None:
    if ranks.is_first() or code == 1:  # all ranks of a run find the same mistake
        print(f"nas-lightning: {line}", file=sys.stderr)
    # Lightning kills rank 0, which may still be writing, when a process that it has started exits with a code other
    # than 0.
    raise SystemExit(0 if code != 1 and ranks.started_by_lightning() else code)


def _main(arguments: Arguments) -> None:
    register_resolvers()
    resumed = [word for word in arguments.overrides if word.lstrip("+").startswith("resume=")]
    if arguments.help:
        show_help(arguments.config_dir)
    elif "task=list" in arguments.overrides:
        show_list([word for word in arguments.overrides if word != "task=list"], arguments.config_dir)
    elif "task=plan" in arguments.overrides:
        _plan(arguments)
    elif resumed:
        if arguments.multirun or arguments.flags:
            raise ConfigError(
                f"{resumed[-1]}: cannot be combined with {' '.join(arguments.flags) or '-m'}; leave it out"
            )
        others = [word for word in arguments.overrides if word not in resumed]
        _resume(resumed[-1], others)
    else:
        _run_hydra(arguments)


def _plan(arguments: Arguments) -> None:
    """Plan the command; not as a job of Hydra, which would make a folder."""
    found = [composing.search_path(arguments.config_dir)] if arguments.config_dir is not None else []
    words = [*arguments.overrides, *found]
    own = [word for word in words if word.lstrip("+").startswith("plan.")]
    composing.checked([*own, "task=plan"])
    first = first_member(composing.rewrite([word for word in words if word not in own and word != "task=plan"]))
    if first is not None:
        composing.checked(first)
    from nas_lightning.planning import run_plan  # here: a refusal must not wait for torch

    quiet()
    run_plan(words)


def _resume(word: str, overrides: Sequence[str]) -> None:
    """Resume a run, with its log in its folder, as Hydra's configuration has it for a new run."""
    path = word.partition("=")[2]
    if path[:1] in ("'", '"') and not exists(path_of(path)):  # quotes of the grammar, as for any other value
        path = str(value_of(word))
    if not path:
        raise ConfigError("resume=: names no folder; give that of a run, resume=outputs/DATE/TIME")
    folder = RunFolder(path)
    folder.config()  # refuses a folder without a run before anything is written there
    from nas_lightning.tasks.resume import resume  # here: a refusal must not wait for torch

    log_to(folder.path)
    with _traceback_in_log(folder):
        resume(folder.path, overrides)


def _run_hydra(arguments: Arguments) -> None:
    """Validate the command, then let Hydra make the folders and run the job or the sweep."""
    overrides = composing.rewrite(arguments.overrides, arguments.config_dir)
    composing.check_overrides_of_another_run(arguments.overrides)
    folder_given = any(word.lstrip("+").startswith("hydra.run.dir=") for word in overrides)
    if ranks.ranks_are_given() and not arguments.multirun and not folder_given:
        raise ConfigError(
            f"hydra.run.dir: rank {ranks.rank()} was started by a launcher, and all ranks need the same folder; give"
            " hydra.run.dir=outputs/NAME"
        )
    if arguments.config_dir is not None:
        overrides.append(composing.search_path(arguments.config_dir))
    overrides = [*words_of_origin(overrides, arguments.config_dir), *overrides]
    if arguments.multirun and not arguments.flags:
        overrides = limited(overrides)
        run_sweep(overrides, _member, lambda member: _hydra_main(member, ["-m", *overrides]))
        return
    checked = None
    if "--hydra-help" not in arguments.flags:
        checked = composing.checked(overrides)
        check_read(checked)
    if not arguments.flags:
        check_single(overrides)
        if checked is not None and not _holds_run(overrides):
            check_places(checked)
    # Hydra prints the error of a failing job in its own words and exits. So a job does not raise but leaves its error
    # here; Hydra's own errors are raised, by HYDRA_FULL_ERROR, and only `main` exits.
    failures: list[Exception] = []

    def job(config: DictConfig) -> None:
        try:
            _job(_typed(config) if checked is None or arguments.multirun else checked)
        except Exception as error:
            failures.append(error)

    try:
        _hydra_main(job, [*arguments.flags, *(["-m"] if arguments.multirun else []), *overrides])
    except OSError as error:  # jobs do not raise, so Hydra's mkdir failed
        raise ConfigError(f"hydra.run.dir={error.filename}: cannot be written ({error.strerror})") from error
    if failures:
        raise failures[0]


def _holds_run(words: Sequence[str]) -> bool:
    """Return True if the given folder holds a run: a job that a cluster starts again, whose images may have moved."""
    given = [word.partition("=")[2] for word in words if word.lstrip("+").startswith("hydra.run.dir=")]
    return any(exists(path_of(folder) / CONFIG) for folder in given)


def _hydra_main(job: Callable[[DictConfig], Any], words: Sequence[str]) -> None:
    """Run Hydra's main with these words as its command line."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [sys.argv[0], *words]
    hydra.main(config_path=str(composing.conf_dir()), config_name="config", version_base="1.3")(job)()


def _typed(config: DictConfig) -> RootConfig:
    """Validate the configuration of the job that Hydra runs, and note the job's own overrides."""
    return validate(composing.completed(config)).composed_from(HydraConfig.get().overrides.task)


def _job(config: RootConfig) -> None:
    """Run one task in the folder that Hydra made for it."""
    from nas_lightning.tasks.resume import is_requeued, resume  # here: a refusal must not wait for torch
    from nas_lightning.tasks.run import run_task

    quiet()
    folder = RunFolder(HydraConfig.get().runtime.output_dir)
    with _traceback_in_log(folder):
        if is_requeued(config, folder):
            resume(folder.path)
        else:
            run_task(config, folder)


def _member(config: DictConfig) -> tuple[dict[str, Any] | None, bool]:
    """Run or resume a member of a sweep; return its summary and True where it had been finished before."""
    from nas_lightning.tasks.resume import continue_task  # here: a refusal must not wait for torch

    quiet()
    folder = RunFolder(HydraConfig.get().runtime.output_dir)
    with _traceback_in_log(folder):
        return continue_task(_typed(config), folder)


@contextmanager
def _traceback_in_log(folder: RunFolder) -> Iterator[None]:
    """Write the traceback of an error within the block to run.log; `main` prints one line in the terminal.

    Raises:
        FaultError: An exception that is not an error of this package; it names the part and hook that raised it.
    """
    try:
        yield
    except ConfigError as error:
        log.info("%s", error)
        raise
    except Exception as error:
        log.info("%s", traceback.format_exc())  # at level INFO: the terminal shows warnings and above
        code, line = exit_code(error)
        if code != 1 or isinstance(error, NasLightningError):
            raise
        place = place_of_fault(error)
        raise FaultError(f"{f'{place}: ' if place else ''}{line}; the traceback is in {folder}/{log_name()}") from error
