"""Jobs of a single run: functions that one of Hydra's launchers calls side by side, in processes of its own.

A launcher knows sweeps only. So each job is a member of a sweep of its own, whose configuration nobody reads: a job is
known by its number.
"""

import contextlib
import logging
import os
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from nas_lightning.config.compose import hydra_opened, one_line_errors, rewrite
from nas_lightning.config.words import quoted
from nas_lightning.core.errors import Interrupted, exit_code
from nas_lightning.runs.logs import quiet
from nas_lightning.sweeps.resolvers import register_resolvers

register_resolvers()  # on import: to unpickle a job, a launcher's process imports this module before all others of ours

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
"""Seconds between two looks of a job at the process that started it."""


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Args:
        value: What it returned; None where it did not end.
        problem: Why it did not, in one line; empty where it did.
        mistake: Whether that is the user's mistake.
        stopped: Whether it was stopped, by the user or a signal.
    """

    value: Any = None
    problem: str = ""
    mistake: bool = False
    stopped: bool = False


@dataclass(frozen=True)
class _Job:
    """What a launcher calls, pickled to the process that it chooses.

    Attributes:
        task: The function of the job's number.
        home: Host and process id of the run.
    """

    task: Callable[[int], Any]
    home: tuple[str, int] = field(default_factory=lambda: (socket.gethostname(), os.getpid()))

    def __call__(self, config: DictConfig) -> Outcome:
        quiet()
        with _ending_with(self.home), _silence():
            try:
                return Outcome(self.task(int(HydraConfig.get().job.num)))
            except (Interrupted, KeyboardInterrupt) as error:
                return Outcome(problem=str(error), stopped=True)
            except Exception as error:
                log.info("%s", traceback.format_exc())
                code, line = exit_code(error)
                return Outcome(problem=line, mistake=code == 2)


def launcher_words(words: Sequence[str]) -> list[str]:
    """Return the overrides of a command that choose and set up a launcher; none where it chooses no other than basic.

    >>> launcher_words(["seed=1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "hydra.run.dir=a"])
    ['hydra/launcher=joblib', 'hydra/launcher/values@hydra.launcher=joblib', 'hydra.launcher.n_jobs=4']
    """
    chosen = [word for word in words if word.startswith("hydra/launcher=")]
    if not chosen or chosen[-1] == "hydra/launcher=basic":
        return []
    kept = ("hydra/launcher=", "hydra.launcher", "hydra.searchpath")
    return rewrite([word for word in words if word.lstrip("+~").startswith(kept)])


def run_jobs(task: Callable[[int], Any], words: Sequence[str], folders: Sequence[Path]) -> list[Outcome]:
    """Let a launcher call a function for each number from 0 on, as many at once as it likes; return what came of them.

    Args:
        task: The function; it is pickled, and so is what it returns.
        words: `launcher_words` of the command.
        folders: A folder for each job, all in one; its log is written there.

    Raises:
        ConfigError: The launcher is not installed, or refuses its values.
    """
    (parent,) = {folder.parent for folder in folders}
    place = [f"hydra.sweep.dir={quoted(str(parent.resolve()))}", "hydra.job.name=candidate"]
    with hydra_opened():
        with one_line_errors(words):
            config = hydra.compose("config", overrides=[*words, *place], return_hydra_config=True)
            context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks())
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=_Job(task), config=config
            )
        with _own_log():
            found = launcher.launch([[f"hydra.sweep.subdir={folder.name}"] for folder in folders], initial_job_idx=0)
    return [one.return_value for one in found]


@contextlib.contextmanager
def _ending_with(home: tuple[str, int]) -> Iterator[None]:
    """End this process when the run that started it has been killed, where both are on one machine.

    Else it would train on beside the run that is resumed.
    """
    host, process = home
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                os._exit(1)

    if host != socket.gethostname() or process == os.getpid():
        yield
        return
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@contextlib.contextmanager
def _own_log() -> Iterator[None]:
    """Let this process log where it did before: jobs that run in it set up the log anew, each for itself."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        for handler in [one for one in root.handlers if one not in handlers]:
            root.removeHandler(handler)
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Print nothing: several jobs would write over each other."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        yield
