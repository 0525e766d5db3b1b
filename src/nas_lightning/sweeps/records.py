"""Records of the members of a sweep: a file each while it runs, then a table and sweep.csv."""

import os
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from nas_lightning.core.terminal import screen
from nas_lightning.runs import documents, tables

_NUMBERS = ("val_accuracy", "test_accuracy")


@dataclass(frozen=True)
class Record:
    """The state of a member of a sweep.

    Attributes:
        number: Index in the sweep.
        folder: Run folder.
        overrides: Overrides of this member.
        status: Progress or outcome.
        reason: Reason of a failure, in one line.
        mistake: True where the failure is the user's mistake, not a fault.
        val_accuracy: Accuracy on `val` in percent, by which sweepers compare members; None where none was measured.
        test_accuracy: Accuracy on `test` of the network found, in percent, only shown; None where none was measured.
        others: The same of its readings and further methods, by their names.
        process: Host name and process id.
    """

    number: int
    folder: str
    overrides: list[str]
    status: Literal["running", "finished", "skipped", "failed", "interrupted"] = "running"
    reason: str = ""
    mistake: bool = False
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    others: dict[str, float | None] = field(default_factory=dict)
    process: list[Any] = field(default_factory=lambda: [socket.gethostname(), os.getpid()])

    def line(self, ended: int, size: int | None) -> str:
        """Return one line about a member that has ended.

        Args:
            ended: Number of members that have ended.
            size: Number of members in all; None where it is unknown.
        """
        words = {"skipped": "skipped, finished before", "failed": f"failed ({self.reason})"}
        outcome, of = words.get(self.status, self.status), "" if size is None else f" of {size}"
        return f"sweep: {ended}{of} ended: {short(self.folder)}: {outcome}"


def read_records(records: Path) -> list[Record]:
    """Read all records of a sweep, sorted by number."""
    found = [Record(**documents.read_json(file)) for file in records.glob("*.json")]
    return sorted(found, key=lambda record: record.number)


def ended(records: Path) -> list[Record]:
    """Read the records of members that have ended other than by interruption."""
    return [record for record in read_records(records) if record.status not in ("running", "interrupted")]


def show(members: Sequence[Record], path: Path) -> None:
    """Write sweep.csv and print the same as a table, without the columns of results that are empty.

    Args:
        members: All records.
        path: Path of sweep.csv.
    """
    others = dict.fromkeys(name for member in members for name in member.others)
    beside = {name: f"test_accuracy/{name}" for name in others}
    rows = [
        {
            "member": Path(member.folder).name,
            **given,
            "status": member.status,
            "val_accuracy": _text(member.val_accuracy),
            "test_accuracy": _text(member.test_accuracy),
            **{column: _text(member.others.get(name)) for name, column in beside.items()},
            "reason": member.reason,
        }
        for member, given in zip(members, _differing(members), strict=True)
    ]
    tables.write(path, rows)
    table = Table(title=f"sweep in {short(str(path.parent))}", title_justify="left")
    numbers = (*_NUMBERS, *beside.values())
    shown = [name for name in rows[0] if name not in (*numbers, "reason") or any(row[name] for row in rows)]
    for name in shown:
        table.add_column(name, overflow="fold", justify="right" if name in numbers else "left")
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    screen().print(table, markup=False)
    if sum(bool(row["val_accuracy"] or row["test_accuracy"]) for row in rows) > 1:
        words = shlex.join(["task=report", f"runs={short(str(path.parent))}/**"])
        screen().print(f"compare them: {words}", highlight=False, markup=False, soft_wrap=True)


def _text(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:g}"


def _differing(members: Sequence[Record]) -> list[dict[str, str]]:
    """Return, for each member, the overrides that differ between members; all for a single member."""
    given = [dict(override.lstrip("+").split("=", 1) for override in m.overrides if "=" in override) for m in members]
    keys = list(dict.fromkeys(key for one in given for key in one))
    kept = [key for key in keys if len({one.get(key) for one in given}) > 1] or (keys if len(given) == 1 else [])
    return [{key: one.get(key, "") for key in kept} for one in given]


def short(path: str) -> str:
    """Return a path relative to the current folder where it lies inside, else unchanged."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
