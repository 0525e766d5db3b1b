"""Sweeps: many runs of one command, by any of Hydra's launchers.

Members leave records (`members.py`), from which the process of the command derives progress, table and exit code.
"""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from nas_lightning.config.compose import checked, hydra_settings
from nas_lightning.config.schema import check_read
from nas_lightning.core.errors import ConfigError, Interrupted, SweepError
from nas_lightning.core.terminal import track_progress
from nas_lightning.runs import layout
from nas_lightning.sweeps.grammar import params_of, size_of, sweep_choices, sweep_members
from nas_lightning.sweeps.members import Member, Run
from nas_lightning.sweeps.processes import check_ranks
from nas_lightning.sweeps.records import Record, ended, read_records, short, show

MANY = 20
"""Runs whose check takes seconds, so that it shows how far it is."""


def run_sweep(overrides: Sequence[str], run: Run, launch: Callable[[Member], None]) -> None:
    """Check every value of a sweep, run it, and report all members in a table and in sweep.csv.

    Args:
        overrides: The overrides of the command.
        run: Function that runs a member.
        launch: Function that lets Hydra call a `Member` for each run of the sweep.

    Raises:
        ConfigError: A value is refused, before anything is written; or members failed, all by the user's mistakes.
        SweepError: Members failed.
        Interrupted: The user stopped the sweep.
    """
    settings = hydra_settings(sweep_members(overrides)[0])
    swept = {**sweep_choices(params_of(settings)), **sweep_choices(overrides)}
    if len(swept.get("sweep") or ["sweep=NAME"]) > 1:
        raise ConfigError("sweep: a sweep has one name, the folder of all its members; use sweep=NAME")
    members = sweep_members([*params_of(settings), *overrides])
    for member in track_progress(members, "runs to check") if len(members) > MANY else members:
        composed = checked(member)
        check_read(composed)
        check_ranks(composed.trainer, settings.launcher)
    folder = Path(settings.sweep.dir).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        records = Path(tempfile.mkdtemp(prefix=".members-", dir=folder))
    except OSError as error:
        raise ConfigError(f"hydra.sweep.dir={error.filename}: cannot be written ({error.strerror})") from error
    size = size_of(swept, settings)
    ending: BaseException | None = None
    try:
        with _announcing(records, size, settings):
            launch(Member(run, records, size, os.getpid()))
    except (Exception, Interrupted, KeyboardInterrupt) as error:
        ending = error
    ran = read_records(records)
    shutil.rmtree(records, ignore_errors=True)  # members that are still queued find it gone
    if ending is not None and not ran:
        raise ending
    _end(ran, folder, size, ending)


def _end(members: list[Record], folder: Path, size: int | None, ending: BaseException | None) -> None:
    """Write table and sweep.csv, and raise the error that the command ends with, if any."""
    stopped = isinstance(ending, (Interrupted, KeyboardInterrupt)) or any(m.status == "interrupted" for m in members)
    if stopped:
        _stop([member for member in members if member.status == "running"])
    cause = "" if ending is None or stopped else f" ({type(ending).__name__}: {' '.join(str(ending).split())[:200]})"
    fate = {"status": "interrupted"} if stopped else {"status": "failed", "reason": f"its process ended{cause}"}
    members = [replace(m, **fate) if m.status == "running" else m for m in members]  # type: ignore[arg-type]
    table = folder / layout.SWEEP
    show(members, table)
    if stopped:
        done, of = sum(m.status in ("finished", "skipped") for m in members), "" if size is None else f" of {size}"
        raise Interrupted(f"the sweep was stopped, {done}{of} members are finished; repeat the command to run the rest")
    failed = [member for member in members if member.status == "failed"]
    if failed:
        mistakes = all(member.mistake for member in failed)
        kind = ConfigError if mistakes else SweepError
        advice = "" if mistakes else "; repeat the command to run them again"
        raise kind(
            f"{len(failed)} of {size or len(members)} members of the sweep failed, {short(failed[0].folder)}:"
            f" {failed[0].reason}; all in {short(str(table))}{advice}"
        )
    if isinstance(ending, Exception):
        raise ending


@contextlib.contextmanager
def _announcing(records: Path, size: int | None, settings: DictConfig) -> Iterator[None]:
    """Print a line as each member ends, where members run in other processes; in this one they print it themselves."""
    if "basic" in str(settings.launcher.get("_target_")):
        yield
        return
    over = threading.Event()

    def watch() -> None:
        announced: set[int] = set()
        while True:
            last = over.wait(0.5)  # read once more after the end: a member may have ended since
            for record in ended(records):
                if record.number not in announced:
                    announced.add(record.number)
                    print(record.line(len(announced), size), flush=True)
            if last:
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _stop(running: Sequence[Record]) -> None:
    """Interrupt members on this machine: a launcher that is stopped may leave them running."""
    for machine, process in (record.process for record in running):
        if machine == socket.gethostname() and process != os.getpid():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGINT)
