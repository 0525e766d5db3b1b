"""One member of a sweep, in any process that a launcher starts.

Members may run in other processes and on other machines, and Hydra reports nothing but the exception of one that
raises. So members do not raise: each leaves a record.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from nas_lightning.core import ranks
from nas_lightning.core.errors import Interrupted, exit_code
from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.sweeps.records import Record, ended
from nas_lightning.sweeps.resolvers import register_resolvers

register_resolvers()  # on import: to unpickle `Member`, a launcher's process imports this module and no other of ours

Run = Callable[[DictConfig], tuple[dict[str, Any] | None, bool]]
"""Function that runs a member; returns its summary and True where it had been finished before."""


def value_on_val(summary: Mapping[str, Any]) -> float | None:
    """Return the metric on `val` of the retrained network, else of the search, in its unit; never that on test."""
    goal = Goal.of(summary)
    sections = (summary.get(part) or {} for part in ("evaluation", "search"))
    return next((value for section in sections if (value := goal.value(section, "val")) is not None), None)


def value_on_test(summary: Mapping[str, Any], goal: Goal = ACCURACY) -> float | None:
    """Return the metric on `test` of the network found, in its unit, for the table alone: it chooses nothing."""
    return goal.value(summary.get("evaluation") or {}, "test")


def values_beside(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the metrics on `test` of what readings and further methods found, by their names."""
    parts = {**(summary.get("readings") or {}), **(summary.get("methods") or {})}
    return {name: value_on_test(part, Goal.of(summary)) for name, part in parts.items()}


def value_to_maximise(summary: Mapping[str, Any]) -> float | None:
    """Return the metric on `val`, negated where smaller is better: sweepers that optimise are told to maximise."""
    value = value_on_val(summary)
    return None if value is None else Goal.of(summary).sign * value


@dataclass(frozen=True)
class Member:
    """Callable that Hydra runs for each member, pickled to the process that a launcher chooses.

    Attributes:
        run: Function that runs the member.
        records: Folder of the records; it is removed when the sweep ends.
        size: Number of members; None where it is unknown.
        home: Process id of the sweep. Other processes print nothing: several members would write over each other.
    """

    run: Run
    records: Path
    size: int | None
    home: int

    def __call__(self, config: DictConfig) -> float | None:
        """Run the member.

        Returns:
            Its metric on `val` such that larger is better, which sweepers that optimise maximise; None where it failed.

        Raises:
            Interrupted: The user stopped it, or the whole sweep.
        """
        settings = HydraConfig.get()
        record = Record(int(settings.job.num), str(settings.runtime.output_dir), list(settings.overrides.task))
        if not self.records.is_dir():  # still queued when the sweep was stopped
            raise Interrupted("the sweep that this run belongs to has ended")
        self._write(record)
        at_home = os.getpid() == self.home
        value: float | None = None
        try:
            with contextlib.nullcontext() if at_home else _silence():
                summary, before = self.run(config)
            summary, goal = summary or {}, Goal.of(summary or {})
            record = replace(
                record,
                status="skipped" if before else "finished",
                val=value_on_val(summary),
                test=value_on_test(summary, goal),
                others=values_beside(summary),
                word=goal.word,
            )
            value = value_to_maximise(summary)
        except Exception as error:
            code, reason = exit_code(error)
            record = replace(record, status="failed", reason=reason, mistake=code == 2)
        except BaseException:
            self._write(replace(record, status="interrupted"))
            raise
        self._write(record)
        if at_home:
            print(record.line(len(ended(self.records)), self.size), flush=True)
        return value

    def _write(self, record: Record) -> None:
        if ranks.is_first():  # one record for all ranks; renamed into place, because the sweep reads it meanwhile
            file = self.records / f"{record.number}.json"
            file.with_suffix(".tmp").write_text(json.dumps(asdict(record)))
            file.with_suffix(".tmp").replace(file)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        yield
