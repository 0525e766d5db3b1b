"""Concatenate the tables of many run folders, to draw figures from.

A folder whose table is damaged is left out of that figure and listed; it never stops a report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nas_lightning.runs import layout, tables

SETTING = ("space", "data")
"""Columns that runs must share for their searches to be drawn together."""
EVALUATION_SETTING = (
    *("space", "judged_on", "table", "recipe", "metric", "init_channels", "layers", "epochs", "unit", "direction"),
)
"""Columns that they must share for their values on the test images to be compared.

Where a table judges, its data set counts and not the images of the search, of which a search over a pool reads none.
"""


@dataclass
class Problems:
    """A list of what could not be read, in the order in which it was found.

    Attributes:
        found: Folder and reason, one line each.
    """

    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, folder: str, reason: str) -> None:
        """Note a problem once."""
        entry = folder, " ".join(reason.split())[:300]
        if entry not in self.found:
            self.found.append(entry)

    @contextmanager
    def noting(self, folder: str, what: str) -> Iterator[None]:
        """Note any exception instead of ending the report: the files of a run may hold anything."""
        try:
            yield
        except Exception as error:
            self.add(folder, f"{what}: {type(error).__name__}: {error}")


def gather(
    frame: pd.DataFrame,
    name: str,
    numbers: Sequence[str],
    problems: Problems,
    optional: Sequence[str] = (),
    sparse: Sequence[str] = (),
) -> pd.DataFrame:
    """Read one table of every run.

    Args:
        frame: What `collect` returns.
        name: File of the table, in the run folder.
        numbers: Columns to read; a run whose table lacks one is skipped.
        problems: Takes the folders whose table cannot be read.
        optional: Columns of text, empty where they are missing.
        sparse: Columns of numbers, nan where they are missing.

    Returns:
        One row a row of the tables: `run`, `method`, `seed`, the columns of `SETTING` and those asked for.
    """
    rows: list[dict[str, Any]] = []
    names = ["run", "method", "seed", *SETTING]
    for labels in frame[names].itertuples(index=False):
        run = dict(zip(names, labels, strict=True))
        path = Path(run["run"]) / name
        if not path.exists():
            continue
        with problems.noting(run["run"], name):
            rows += _rows(path, run, numbers, optional, sparse)
    columns = [*names, *numbers, *optional, *sparse]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys((*numbers, *sparse), float))


def gather_analyses(frame: pd.DataFrame, name: str, numbers: Sequence[str], problems: Problems) -> pd.DataFrame:
    """Read the tables of an analysis, wherever `collect` has found one; the runs themselves may be missing.

    Args:
        frame: What `collect` returns.
        name: Of the analysis.
        numbers: Further columns to read.
        problems: Takes the folders whose table cannot be read.

    Returns:
        What `gather_tables` returns.
    """
    return gather_tables([folder for folder, kind in frame.attrs["analyses"] if kind == name], numbers, problems)


def gather_tables(folders: Iterable[str], numbers: Sequence[str], problems: Problems) -> pd.DataFrame:
    """Read the tables of analyses; for each run the latest epoch counts, in the last of several folders that have it.

    Args:
        folders: Of the analyses.
        numbers: Further columns to read.
        problems: Takes the folders whose table cannot be read.

    Returns:
        `run`, `method`, `seed`, the columns of `SETTING`, `epoch` and those asked for.
    """
    rows: list[dict[str, Any]] = []
    names = ["run", "method", "seed", *SETTING]
    for folder in folders:
        with problems.noting(folder, layout.ANALYSIS):
            rows += _rows(Path(folder) / layout.ANALYSIS, {"analysis": folder}, ("epoch", *numbers), names)
    table = pd.DataFrame(rows, columns=["analysis", *names, "epoch", *numbers])
    table = table.astype(dict.fromkeys(("epoch", *numbers), float))
    table = table[table["epoch"] == table.groupby("run")["epoch"].transform("max")]
    return table[table["analysis"] == table.groupby("run")["analysis"].transform("last")].drop(columns="analysis")


def _rows(
    path: Path, run: dict[str, Any], numbers: Sequence[str], optional: Sequence[str], sparse: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return the rows of one table, without a last line that a kill has cut off."""
    rows = tables.read(path)
    if not rows or not set(numbers) <= set(rows[0]):
        return []
    return [
        {
            **run,
            **{column: float(row[column] or "nan") for column in numbers},
            **{column: row.get(column) or "" for column in optional},
            **{column: float(row.get(column) or "nan") for column in sparse},
        }
        for row in rows
    ]


def settings(frame: pd.DataFrame, columns: Sequence[str], limit: int) -> list[tuple[str, pd.DataFrame]]:
    """Split rows by the columns that they must share, the part with the most runs first.

    Args:
        frame: Has the columns and `run`.
        columns: `SETTING` or `EVALUATION_SETTING`.
        limit: How many parts at most.

    Returns:
        A title and the rows of each part; the titles of parts that differ in their table alone name its file.
    """
    parts = [(_title(same.iloc[0], columns), same) for _, same in frame.groupby([*columns], dropna=False, sort=True)]
    if "table" in columns:
        seen = Counter(title for title, _ in parts)
        parts = [
            (f"{title} · {Path(same['table'].iloc[0]).name}" if seen[title] > 1 and known else title, same)
            for title, same in parts
            for known in [pd.notna(same["table"].iloc[0])]
        ]
    return sorted(parts, key=lambda part: -part[1]["run"].nunique())[:limit]


def _title(row: pd.Series[Any], columns: Sequence[str]) -> str:
    named = ("space", "data", "judged_on", "recipe")
    texts = [str(row[name]) for name in columns if name in named and pd.notna(row[name])]
    sizes = [row[name] for name in ("init_channels", "layers", "epochs") if name in columns and pd.notna(row[name])]
    if sizes:
        texts.append("/".join(f"{size:.0f}" for size in sizes))
    if "metric" in columns and pd.notna(row["metric"]) and row["metric"] != "accuracy":
        unit = row.get("unit")
        texts.append(str(row["metric"]) if pd.isna(unit) or unit in ("%", "") else f"{row['metric']} ({unit})")
    return " · ".join(texts)
