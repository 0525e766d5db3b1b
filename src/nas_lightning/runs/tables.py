"""CSV tables of a run folder: one reader and one writer; half of a last line does not count."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_lightning.runs.files import append, whole_lines, write_text

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


def read(path: Path) -> list[dict[str, str]]:
    """Read all rows as text.

    Raises:
        OSError: The file is missing or cannot be read.
    """
    return list(csv.DictReader(whole_lines(path)))


def read_if_there(path: Path) -> list[dict[str, str]]:
    """Read all rows as text, none where there is no file."""
    return read(path) if path.exists() else []


def read_frame(path: Path) -> "pd.DataFrame":
    """Read all rows with numbers as numbers.

    Raises:
        OSError: The file is missing or cannot be read.
        pandas.errors.EmptyDataError: There is not even a header.
    """
    import pandas as pd  # here: sweeps import this module and must start fast

    return pd.read_csv(io.StringIO("".join(whole_lines(path)), newline=""))


def write(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Replace the table in one step.

    Args:
        path: The file.
        rows: Missing cells are written empty.
        columns: Their order; None takes the keys of all rows in the order of their first appearance.
    """
    rows = list(rows)
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    write_text(path, _text(rows, columns, header=True))


def append_row(path: Path, row: Row) -> None:
    """Add a row; new columns are added to the rows before, empty."""
    rows = read_if_there(path)
    columns = list(rows[0]) if rows else []
    if rows and set(row) <= set(columns):
        append(path, _text([row], columns, header=False))
    else:
        write(path, [*rows, row])


def cut(path: Path, keep: Callable[[Mapping[str, Any]], bool]) -> None:
    """Keep the rows that `keep` accepts and drop half of a last line; a table that has neither is not written."""
    if not path.exists():
        return
    lines = whole_lines(path)
    rows = list(csv.DictReader(lines))
    if not all(map(keep, rows)) or sum(len(line.encode()) for line in lines) != path.stat().st_size:
        write(path, [row for row in rows if keep(row)])


def _text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], header: bool) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
