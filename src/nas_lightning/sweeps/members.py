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
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from nas_lightning.core import ranks
from nas_lightning.core.errors import Interrupted, exit_code
from nas_lightning.sweeps.records import Record, ended
from nas_lightning.sweeps.resolvers import register_resolvers

register_resolvers()  # on import: to unpickle `Member`, a launcher's process imports this module and no other of ours

Run = Callable[[DictConfig], tuple[dict[str, Any] | None, bool]]
"""Function that runs a member; returns its summary and True where it had been finished before."""


def validation_accuracy(summary: Mapping[str, Any]) -> float | None:
    """Return the accuracy on `val` of the retrained network, else of the search, in percent; never that on test."""
    for part in ("evaluation", "search"):
        value = (summary.get(part) or {}).get("val_accuracy")
        if value is not None:
            return float(value)
    return None


def accuracy_on_test(summary: Mapping[str, Any]) -> float | None:
    """Return the accuracy on `test` of the network found, in percent, for the table alone: it chooses nothing."""
    value = (summary.get("evaluation") or {}).get("test_accuracy")
    return None if value is None else float(value)


def other_accuracies(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the accuracies on `test` of what readings and further methods found, by their names."""
    parts = {**(summary.get("readings") or {}), **(summary.get("methods") or {})}
    return {name: accuracy_on_test(part) for name, part in parts.items()}


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
            Its validation accuracy, which sweepers that optimise take as the objective; None where it failed.

        Raises:
            Interrupted: The user stopped it, or the whole sweep.
        """
        settings = HydraConfig.get()
        record = Record(int(settings.job.num), str(settings.runtime.output_dir), list(settings.overrides.task))
        if not self.records.is_dir():  # still queued when the sweep was stopped
            raise Interrupted("the sweep that this run belongs to has ended")
        self._write(record)
        at_home = os.getpid() == self.home
        try:
            with contextlib.nullcontext() if at_home else _silence():
                summary, before = self.run(config)
            val, test = validation_accuracy(summary or {}), accuracy_on_test(summary or {})
            status: Literal["skipped", "finished"] = "skipped" if before else "finished"
            others = other_accuracies(summary or {})
            record = replace(record, status=status, val_accuracy=val, test_accuracy=test, others=others)
        except Exception as error:
            code, reason = exit_code(error)
            record = replace(record, status="failed", reason=reason, mistake=code == 2)
        except BaseException:
            self._write(replace(record, status="interrupted"))
            raise
        self._write(record)
        if at_home:
            print(record.line(len(ended(self.records)), self.size), flush=True)
        return record.val_accuracy

    def _write(self, record: Record) -> None:
        if ranks.is_first():  # one record for all ranks; renamed into place, because the sweep reads it meanwhile
            file = self.records / f"{record.number}.json"
            file.with_suffix(".tmp").write_text(json.dumps(asdict(record)))
            file.with_suffix(".tmp").replace(file)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        yield
