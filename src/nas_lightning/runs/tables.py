"""Read and write the CSV tables of a run folder; a partial last line is ignored."""

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
    """Read all rows, cells as text.

    Raises:
        OSError: The file is missing or cannot be read.
    """
    return list(csv.DictReader(whole_lines(path)))


def read_if_there(path: Path) -> list[dict[str, str]]:
    """Read all rows, cells as text; a missing file has none."""
    return read(path) if path.exists() else []


def read_frame(path: Path) -> "pd.DataFrame":
    """Read all rows as a data frame, with column types inferred.

    Raises:
        OSError: The file is missing or cannot be read.
        pandas.errors.EmptyDataError: There is no header.
    """
    import pandas as pd  # imported here because sweeps import this module and must start fast

    return pd.read_csv(io.StringIO("".join(whole_lines(path)), newline=""))


def write(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write a table atomically.

    Args:
        path: The file.
        rows: Rows by column name; missing cells are written empty.
        columns: Order of the columns; None takes all keys in the order of their first appearance.
    """
    rows = list(rows)
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    write_text(path, _text(rows, columns, header=True))


def append_row(path: Path, row: Row) -> None:
    """Append a row; earlier rows get empty cells in new columns."""
    rows = read_if_there(path)
    columns = list(rows[0]) if rows else []
    if rows and set(row) <= set(columns):
        append(path, _text([row], columns, header=False))
    else:
        write(path, [*rows, row])


def cut(path: Path, keep: Callable[[Mapping[str, Any]], bool]) -> None:
    """Drop rows that `keep` refuses and a partial last line; without either, the file is not touched."""
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
