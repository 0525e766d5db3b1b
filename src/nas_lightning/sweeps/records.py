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
        val: Metric on `val` in its unit, by which sweepers compare members; None where it was not measured.
        test: Metric on `test` of the network found, only shown; None where it was not measured.
        others: The same of its readings and further methods, by their names.
        word: Last word of the columns of these, as `Goal.word`.
        process: Host name and process id.
    """

    number: int
    folder: str
    overrides: list[str]
    status: Literal["running", "finished", "skipped", "failed", "interrupted"] = "running"
    reason: str = ""
    mistake: bool = False
    val: float | None = None
    test: float | None = None
    others: dict[str, float | None] = field(default_factory=dict)
    word: str = "accuracy"
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
    kinds = sorted({member.word for member in members})
    others = dict.fromkeys(name for member in members for name in member.others)
    numbers = [f"{part}_{word}" for word in kinds for part in ("val", "test")]
    numbers += [f"test_{word}/{name}" for word in kinds for name in others]
    rows = [
        {
            "member": Path(member.folder).name,
            **given,
            "status": member.status,
            **dict.fromkeys(numbers, ""),
            **_measured(member),
            "reason": member.reason,
        }
        for member, given in zip(members, _differing(members), strict=True)
    ]
    tables.write(path, rows)
    table = Table(title=f"sweep in {short(str(path.parent))}", title_justify="left")
    shown = [name for name in rows[0] if name not in (*numbers, "reason") or any(row[name] for row in rows)]
    for name in shown:
        table.add_column(name, overflow="fold", justify="right" if name in numbers else "left")
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    screen().print(table, markup=False)
    if sum(member.val is not None or member.test is not None for member in members) > 1:
        words = shlex.join(["task=report", f"runs={short(str(path.parent))}/**"])
        screen().print(f"compare them: {words}", highlight=False, markup=False, soft_wrap=True)


def _measured(member: Record) -> dict[str, str]:
    """Return the cells of what was measured of a member, by their columns."""
    found = {f"val_{member.word}": member.val, f"test_{member.word}": member.test}
    found |= {f"test_{member.word}/{name}": value for name, value in member.others.items()}
    return {column: "" if value is None else f"{value:g}" for column, value in found.items()}


def _differing(members: Sequence[Record]) -> list[dict[str, str]]:
    """Return, for each member, the overrides that differ between members; all for a single member."""
    given = [dict(override.lstrip("+").split("=", 1) for override in m.overrides if "=" in override) for m in members]
    keys = list(dict.fromkeys(key for one in given for key in one))
    kept = [key for key in keys if len({one.get(key) for one in given}) > 1] or (keys if len(given) == 1 else [])
    return [{key: one.get(key, "") for key in kept} for one in given]


def short(path: str) -> str:
    """Return a path relative to the current folder where it lies inside, else unchanged."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
