"""genotypes.jsonl: the genotype and the mixing weights after every epoch, one JSON object per line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_lightning.runs.files import append, whole_lines, write_text


def read(path: Path, skip_damaged: bool = False) -> list[dict[str, Any]]:
    """Read all complete lines; a missing file has none.

    Args:
        path: The file.
        skip_damaged: Leave out lines that are not JSON.

    Raises:
        ValueError: A line is not JSON.
    """
    rows: list[dict[str, Any]] = []
    for line in whole_lines(path) if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            if not skip_damaged:
                raise
    return rows


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append a line."""
    append(path, _line(row))


def cut(path: Path, first_epoch: int) -> None:
    """Drop the lines of epochs from `first_epoch` on."""
    if path.exists():
        write_text(path, "".join(_line(row) for row in read(path) if row["epoch"] < first_epoch))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"
