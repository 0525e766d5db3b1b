"""Sweeps: many runs of one command, by any of Hydra's launchers.

Members may run in other processes and on other machines, and of one that raises Hydra tells nothing but its exception.
So members do not raise. Each leaves a record, and the process that was called makes the progress, the table and the
exit code of the records.
"""

import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from nas_lightning.config import compose as composing
from nas_lightning.config.resolvers import register_resolvers
from nas_lightning.config.schema import check_read
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError, Interrupted, SweepError, exit_code

register_resolvers()  # here: a launcher's own process imports this module, and nothing else of ours, to find `Member`

Run = Callable[[DictConfig], tuple[dict[str, Any] | None, bool]]
"""Runs a member; returns its summary and whether it had been finished before."""


@dataclass(frozen=True)
class Record:
    """What is known of a member.

    Attributes:
        number: Its place in the sweep.
        folder: Its run folder.
        overrides: Its part of the command.
        status: How far it is.
        reason: Why it failed, in one line.
        mistake: Whether that is the user's mistake, not a fault.
        val_accuracy: What it is compared by, in percent; null where it measured none.
        process: Machine and process id that it runs in.
    """

    number: int
    folder: str
    overrides: list[str]
    status: Literal["running", "finished", "skipped", "failed", "interrupted"] = "running"
    reason: str = ""
    mistake: bool = False
    val_accuracy: float | None = None
    process: list[Any] = field(default_factory=lambda: [socket.gethostname(), os.getpid()])

    def line(self, ended: int, size: int | None) -> str:
        """One line about a member that has ended."""
        words = {"skipped": "skipped, finished before", "failed": f"failed ({self.reason})"}
        said, of = words.get(self.status, self.status), "" if size is None else f" of {size}"
        return f"sweep: {ended}{of} ended: {_short(self.folder)}: {said}"


def validation_accuracy(summary: Mapping[str, Any]) -> float | None:
    """What members are compared by: of the retrained network on `val`, else of the search; never on test."""
    for part in ("evaluation", "search"):
        value = (summary.get(part) or {}).get("val_accuracy")
        if value is not None:
            return float(value)
    return None


@dataclass(frozen=True)
class Member:
    """What Hydra calls for each member, wherever a launcher sends it.

    Attributes:
        run: What does the work.
        records: Folder of the records; it is gone when the sweep has ended.
        size: Members in all, where that is known.
        home: Process of the sweep. In others the terminal is not touched: several members would write over each other.
    """

    run: Run
    records: Path
    size: int | None
    home: int

    def __call__(self, config: DictConfig) -> float | None:
        """Run the member.

        Returns:
            Its validation accuracy, which sweepers that optimise take as the objective; None where it failed.

        Raises:
            Interrupted: The user stopped it, or the whole sweep.
        """
        settings = HydraConfig.get()
        record = Record(int(settings.job.num), str(settings.runtime.output_dir), list(settings.overrides.task))
        if not self.records.is_dir():  # queued while the sweep was stopped
            raise Interrupted("the sweep that this run belongs to has ended")
        self._write(record)
        at_home = os.getpid() == self.home
        try:
            with contextlib.nullcontext() if at_home else _silence():
                summary, before = self.run(config)
            value = validation_accuracy(summary or {})
            record = replace(record, status="skipped" if before else "finished", val_accuracy=value)
        except Exception as error:
            code, reason = exit_code(error)
            record = replace(record, status="failed", reason=reason, mistake=code == 2)
        except BaseException:
            self._write(replace(record, status="interrupted"))
            raise
        self._write(record)
        if at_home:
            print(record.line(len(_ended(self.records)), self.size), flush=True)
        return record.val_accuracy

    def _write(self, record: Record) -> None:
        if ranks.is_first():  # one record for all of them
            file = self.records / f"{record.number}.json"
            file.with_suffix(".tmp").write_text(json.dumps(asdict(record)))
            file.with_suffix(".tmp").replace(file)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        yield


def run_sweep(overrides: Sequence[str], run: Run, launch: Callable[[Member], None]) -> None:
    """Check every value of a sweep, run it, and tell of all members in a table and in sweep.csv.

    Args:
        overrides: The command.
        run: Runs a member.
        launch: Has Hydra call the member for each of the sweep's runs.

    Raises:
        ConfigError: A value is refused, before anything is written; or members failed, all by such mistakes.
        SweepError: Members failed.
        Interrupted: The user stopped the sweep.
    """
    settings = composing.hydra_settings(composing.sweep_members(overrides)[0])
    swept = {**composing.sweep_choices(params_of(settings)), **composing.sweep_choices(overrides)}
    if len(swept.get("sweep") or ["sweep=NAME"]) > 1:
        raise ConfigError("sweep: a sweep has one name, the folder of all its members; use sweep=NAME")
    for member in composing.sweep_members([*params_of(settings), *overrides]):
        composed = composing.compose(member)
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
    members = _read(records)
    shutil.rmtree(records, ignore_errors=True)  # members that are still queued find it gone
    if ending is not None and not members:
        raise ending
    _end(members, folder, size, ending)


def _end(members: list[Record], folder: Path, size: int | None, ending: BaseException | None) -> None:
    """Table, sweep.csv, and what the command ends with."""
    stopped = isinstance(ending, (Interrupted, KeyboardInterrupt)) or any(m.status == "interrupted" for m in members)
    if stopped:
        _stop([member for member in members if member.status == "running"])
    told = "" if ending is None or stopped else f" ({type(ending).__name__}: {' '.join(str(ending).split())[:200]})"
    fate = {"status": "interrupted"} if stopped else {"status": "failed", "reason": f"its process ended{told}"}
    members = [replace(m, **fate) if m.status == "running" else m for m in members]  # type: ignore[arg-type]
    table = folder / "sweep.csv"
    show(members, table)
    if stopped:
        done, of = sum(m.status in ("finished", "skipped") for m in members), "" if size is None else f" of {size}"
        raise Interrupted(
            f"the sweep was stopped, {done}{of} members are finished; the same command goes on with the rest"
        )
    failed = [member for member in members if member.status == "failed"]
    if failed:
        kind = ConfigError if all(member.mistake for member in failed) else SweepError
        raise kind(
            f"{len(failed)} of {size or len(members)} members of the sweep failed, {_short(failed[0].folder)}:"
            f" {failed[0].reason}; all in {_short(str(table))}"
        )
    if isinstance(ending, Exception):
        raise ending


def params_of(settings: DictConfig) -> list[str]:
    """Overrides that a sweep has from its configuration, `hydra.sweeper.params`."""
    return [f"{key}={value}" for key, value in (settings.sweeper.get("params") or {}).items()]


def limited(overrides: Sequence[str]) -> list[str]:
    """The command with `sweep_limit` in it: of an experiment's values of a swept key, only the first so many.

    What the command line itself sweeps over stays whole.

    Raises:
        ConfigError: A key to limit, of the command, that is not swept; or a sweep over sweeps.
    """
    first = composing.sweep_members(overrides)[0]
    for key in ("experiment", "scale"):  # Hydra would take the first one's keys and folder for all
        words = composing.sweep_choices(overrides).get(key) or ()
        if len(words) > 1 and any(params_of(composing.hydra_settings([*first, word])) for word in words):
            raise ConfigError(f"{key}: {' and '.join(words)} are sweeps of their own; give one at a time")
    limits = composing.compose(first).sweep_limit
    if not limits:
        return list(overrides)
    given = composing.sweep_choices(overrides)
    swept = composing.sweep_choices(params_of(composing.hydra_settings(first)))
    for word in given:  # those of a file, as of scale=smoke, are for whatever the experiment sweeps
        section, _, key = word.lstrip("+").partition(".")
        if section == "sweep_limit" and key and key not in {**swept, **given}:
            raise ConfigError(f"sweep_limit.{key}: nothing sweeps over it; allowed: {', '.join(swept) or 'none here'}")
    cut = {key: values[: limits[key]] for key, values in swept.items() if values and key in limits and key not in given}
    return [*overrides, *(f"{key}={','.join(v.partition('=')[2] for v in values)}" for key, values in cut.items())]


def check_single(overrides: Sequence[str]) -> None:
    """Refuse an experiment that is a sweep without -m: with what its keys are by default it is none of its members.

    Raises:
        ConfigError: A key that it sweeps over, other than the seed, has no value on the command line.
    """
    experiment = next((word for word in overrides if word.startswith("experiment=")), None)
    if experiment is None:
        return
    swept = composing.sweep_choices(params_of(composing.hydra_settings(overrides)))
    given = composing.sweep_choices(overrides)
    missing = [key for key, values in swept.items() if key not in {*given, "seed"} and len(values or "**") > 1]
    if missing:
        one = " ".join((swept[key] or [f"{key}=VALUE"])[0] for key in missing)
        raise ConfigError(
            f"{experiment}: is a sweep over {', '.join(swept)}; add -m to run it (task=plan {experiment} counts it), or"
            f" give each a value for one run: {one}"
        )


def size_of(swept: Mapping[str, list[str] | None], settings: DictConfig) -> int | None:
    """How many members a sweep has; None where only its sweeper knows."""
    trials = settings.sweeper.get("n_trials")
    if trials is not None:
        return int(trials)
    return None if None in swept.values() else prod(len(values or ()) for values in swept.values())


OWN_PROCESSES = ("spawn", "fork", "notebook")
"""Words in the names of strategies whose ranks are made by this process, not by running the command again."""


def check_ranks(trainer: Mapping[str, Any], launcher: Mapping[str, Any]) -> None:
    """Refuse ranks that Lightning makes by running the command again: each would run the whole sweep.

    Only the words are read: the machine that a sweep is sent from may not have the devices of its members.

    Args:
        trainer: Section `trainer` of a member.
        launcher: Hydra's launcher.

    Raises:
        ConfigError: Such a trainer, and no ranks from outside.
    """
    strategy, devices = str(trainer.get("strategy") or "auto"), trainer.get("devices", 1)
    several = {"devices": _several(devices, trainer), "num_nodes": int(trainer.get("num_nodes") or 1) > 1}
    if not any(several.values()) or any(word in strategy for word in OWN_PROCESSES):
        return
    from_outside = "LOCAL_RANK" in os.environ or "SLURM_PROCID" in os.environ
    if from_outside or int(launcher.get("tasks_per_node") or 1) > 1:
        return
    key = "devices" if several["devices"] else "num_nodes"
    raise ConfigError(
        f"trainer.strategy={strategy} with trainer.{key}={trainer[key]}: under -m each process that Lightning starts"
        " would run the whole sweep again; use trainer=ddp_spawn, or have Slurm start the processes:"
        f" hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node={devices}"
    )


def _several(devices: Any, trainer: Mapping[str, Any]) -> bool:
    """Whether `trainer.devices` means more than one, or may: all that there are, where these are no CPUs."""
    if isinstance(devices, str) and "," in devices:
        devices = [word for word in devices.split(",") if word.strip()]
    if not isinstance(devices, (int, str)):
        return len(devices) > 1
    if str(devices) in ("auto", "-1"):
        return trainer.get("accelerator") != "cpu"
    if not str(devices).isdecimal():
        raise ConfigError(f"trainer.devices={devices}: must be a number, a list or auto; write trainer.devices=2")
    return int(devices) > 1


# Records ------------------------------------------------------------------------------------------------------


def _read(records: Path) -> list[Record]:
    found = [Record(**json.loads(file.read_text())) for file in records.glob("*.json")]
    return sorted(found, key=lambda record: record.number)


def _ended(records: Path) -> list[Record]:
    return [record for record in _read(records) if record.status not in ("running", "interrupted")]


@contextlib.contextmanager
def _announcing(records: Path, size: int | None, settings: DictConfig) -> Iterator[None]:
    """A line as each member ends, where members run in processes of their own; in this one they tell themselves."""
    if "basic" in str(settings.launcher.get("_target_")):
        yield
        return
    over = threading.Event()

    def watch() -> None:
        told: set[int] = set()
        while True:
            last = over.wait(0.5)
            for record in _ended(records):
                if record.number not in told:
                    told.add(record.number)
                    print(record.line(len(told), size), flush=True)
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
    """Interrupt members on this machine: a launcher whose own process is stopped may leave them behind."""
    for machine, process in (record.process for record in running):
        if machine == socket.gethostname() and process != os.getpid():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGINT)


# Table --------------------------------------------------------------------------------------------------------


def show(members: Sequence[Record], path: Path) -> None:
    """Write sweep.csv and print the same as a table.

    Args:
        members: All of them.
        path: The file.
    """
    rows = [
        {
            "member": Path(member.folder).name,
            **given,
            "status": member.status,
            "val_accuracy": "" if member.val_accuracy is None else f"{member.val_accuracy:g}",
            "reason": member.reason,
        }
        for member, given in zip(members, _differing(members), strict=True)
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    table = Table(title=f"sweep in {_short(str(path.parent))}", title_justify="left")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    Console().print(table, markup=False)


def _differing(members: Sequence[Record]) -> list[dict[str, str]]:
    """Of each member, the overrides that are not the same in all; of a single one, all."""
    given = [dict(override.lstrip("+").split("=", 1) for override in m.overrides if "=" in override) for m in members]
    keys = list(dict.fromkeys(key for one in given for key in one))
    kept = [key for key in keys if len({one.get(key) for one in given}) > 1] or (keys if len(given) == 1 else [])
    return [{key: one.get(key, "") for key in kept} for one in given]


def _short(path: str) -> str:
    """A path as the user would write it from here."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
