"""One table from any set of runs: mean ± standard deviation, median and best, group by group.

`collect` reads the runs, `summarise` does the statistics; `write` and `show` only format.
"""

from __future__ import annotations

import glob
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas_lightning.errors import ConfigError

_log = logging.getLogger(__name__)

_SUMMARY = "summary.json"
_CANDIDATES = "candidates"  # their members belong to a run and are none themselves

# Column of the frame -> where its value stands in summary.json.
_LABELS = {
    "method": ("method",),
    "space": ("space",),
    "data": ("data",),
    "recipe": ("evaluation", "recipe"),
}
_SIZE = {
    "init_channels": ("evaluation", "init_channels"),
    "layers": ("evaluation", "layers"),
    "epochs": ("evaluation", "epochs"),
}
_NUMBERS = _SIZE | {
    "seed": ("seed",),
    "test_accuracy": ("evaluation", "test_accuracy"),
    "params": ("evaluation", "params"),
    "search_val_accuracy": ("search", "val_accuracy"),
    "search_seconds": ("search", "seconds"),
}
# Runs that were judged by networks of different sizes are not comparable, so the size is part of the group.
_GROUP = [*_LABELS, *_SIZE]

# What readers see: columns of words (the others hold numbers), and the sign for a value that is not there.
_TEXTS = ("method", "space", "data", "recipe", "channels/layers/epochs")
_ABSENT = "–"


def collect(patterns: Sequence[str] | str) -> pd.DataFrame:
    """Reads every run that the patterns find.

    Args:
        patterns: Run folders, folders that hold some at any depth, `summary.json` files, or globs of these
            (`**` crosses folders). A run that is found twice counts once, members of `candidates/` never.

    Returns:
        One row a run: `run` (its folder), `method`, `space`, `data`, `recipe`; as numbers, nan where the run
        has none: `init_channels`, `layers`, `epochs`, `seed`, `test_accuracy` and `search_val_accuracy`
        (percent), `params`, `search_seconds`.

    Raises:
        ConfigError: A pattern finds no run.
    """
    rows: dict[Path, dict[str, Any]] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        paths = dict.fromkeys(path.resolve() for path in _find(pattern))
        rows |= {path: row for path in paths if path not in rows and (row := _read(path))}
        # A table that silently lacks the runs of a mistyped pattern would mislead.
        if not any(path in rows for path in paths):
            raise ConfigError(
                f"runs='{pattern}' finds no run, that is no folder with a readable {_SUMMARY}; "
                "give run folders or a glob of them, for example runs='multirun/**'"
            )
    if not rows:
        raise ConfigError("runs is empty; give run folders or a glob of them, for example runs='multirun/**'")
    frame = pd.DataFrame(rows.values())
    return frame.astype(dict.fromkeys(_LABELS, object) | dict.fromkeys(_NUMBERS, float))


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Groups runs by method, space, data, recipe and size of the evaluated network, best mean first.

    Args:
        frame: What `collect` returns.

    Returns:
        One row a group: `method`, `space`, `data`, `recipe`, `init_channels`, `layers`, `epochs`, `runs`, `n`
        (the runs that have a test accuracy), `test_accuracy_{mean,std,median,best}` and
        `search_val_accuracy_mean` in percent, `params_millions_mean`, `search_seconds_mean`. The standard
        deviation is that of a sample: one run has none.
    """
    summary = (
        frame.groupby(_GROUP, dropna=False, sort=False)
        .agg(
            runs=("run", "size"),
            n=("test_accuracy", "count"),
            test_accuracy_mean=("test_accuracy", "mean"),
            test_accuracy_std=("test_accuracy", "std"),
            test_accuracy_median=("test_accuracy", "median"),
            test_accuracy_best=("test_accuracy", "max"),
            search_val_accuracy_mean=("search_val_accuracy", "mean"),
            params_millions_mean=("params", "mean"),
            search_seconds_mean=("search_seconds", "mean"),
        )
        .reset_index()
    )
    summary["params_millions_mean"] /= 1e6
    summary = summary.astype(dict.fromkeys(_SIZE, "Int64"))
    rank = ["data", "space", "recipe", *_SIZE, "test_accuracy_mean", "method"]
    return summary.sort_values(rank, ascending=[name != "test_accuracy_mean" for name in rank], ignore_index=True)


def write(summary: pd.DataFrame, folder: Path) -> list[Path]:
    """Writes `report.md`, for readers, and `report.csv`, with every number in full; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    header, *lines = _cells(summary)
    rule = ["---" if name in _TEXTS else "---:" for name in header]
    table = [[cell.replace("|", r"\|") for cell in line] for line in (header, rule, *lines)]
    markdown, csv = folder / "report.md", folder / "report.csv"
    markdown.write_text("".join(f"| {' | '.join(line)} |\n" for line in table), encoding="utf-8")
    summary.to_csv(csv, index=False)
    return [markdown, csv]


def show(summary: pd.DataFrame, file: IO[str] | None = None) -> None:
    """Prints the table, by default to stdout; what all groups share stands in the caption."""
    header, *lines = _cells(summary)
    shared = [
        index
        for index, name in enumerate(header)
        if name in _TEXTS and name != "method" and len({line[index] for line in lines}) == 1
    ]
    caption = Text(" · ".join(f"{header[index]} {lines[0][index]}" for index in shared)) if shared else None
    kept = [index for index in range(len(header)) if index not in shared]
    table = Table(caption=caption, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index in kept:
        is_text = header[index] in _TEXTS
        title = header[index].replace("/", "/\n") if is_text else header[index].replace(" ", "\n", 1)
        table.add_column(title, justify="left" if is_text else "right", vertical="bottom", no_wrap=True)
    for line in lines:
        table.add_row(*(Text(line[index]) for index in kept))
    console = Console(file=file)
    # Numbers cut short would be worse than lines that wrap: the table takes the width it needs.
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)


def _find(pattern: str) -> Iterator[Path]:
    """Yields the summaries of a pattern, walking every folder once however often the pattern matches it."""
    path = Path(pattern).expanduser()
    # A folder may be called `[a]`; what exists is meant as it stands.
    matches = [str(path)] if path.exists() else sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207
    walked: set[str] = set()
    for match in map(os.path.normpath, matches):
        if _CANDIDATES in Path(os.path.relpath(match)).parts:
            continue
        if Path(match).name == _SUMMARY:
            yield Path(match)
        for root, folders, files in os.walk(match):
            if root in walked:
                folders.clear()
                continue
            walked.add(root)
            folders[:] = sorted(name for name in folders if name != _CANDIDATES)
            if _SUMMARY in files:
                yield Path(root, _SUMMARY)


def _read(path: Path) -> dict[str, Any] | None:
    """Returns a run's row; nothing, and logs a line, where the file is not a run's summary."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "method" not in content:
            raise TypeError("it names no method")
        row: dict[str, Any] = {"run": str(path.parent)}
        row |= {name: _get(content, keys, str) for name, keys in _LABELS.items()}
        row |= {name: _get(content, keys, int, float) for name, keys in _NUMBERS.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        _log.warning("skipped %s: not the summary of a run (%s)", path, error)
        return None
    # Other tasks (a report, a landscape) leave a summary too, but have nothing to compare.
    return row if content.get("search") or content.get("evaluation") else None


def _get(content: dict[str, Any], keys: Sequence[str], *types: type) -> Any:
    """Follows the keys to a value of one of the types; where a part is absent, all that it would hold is."""
    value: Any = content
    for key in keys:
        value = None if value is None else value.get(key)
    if not (value is None or isinstance(value, types)):
        raise TypeError(f"{'.'.join(keys)} is {value!r}")
    return value


def _cells(summary: pd.DataFrame) -> list[list[str]]:
    """Formats the table, header first."""
    header = [*_TEXTS, "n", "test % ± std", "median", "best", "search val %", "params M", "search s"]
    lines = []
    for row in summary.to_dict("records"):
        size = "/".join(_number(row[name], 0) for name in _SIZE)
        lines.append(
            [
                *(_ABSENT if pd.isna(row[name]) else str(row[name]) for name in _LABELS),
                size if any(character.isdigit() for character in size) else _ABSENT,
                str(row["n"]) if row["n"] == row["runs"] else f"{row['n']} of {row['runs']}",
                f"{_number(row['test_accuracy_mean'])} ± {_number(row['test_accuracy_std'])}",
                _number(row["test_accuracy_median"]),
                _number(row["test_accuracy_best"]),
                _number(row["search_val_accuracy_mean"]),
                _number(row["params_millions_mean"]),
                _number(row["search_seconds_mean"], 1),
            ]
        )
    return [header, *lines]


def _number(value: Any, decimals: int = 2) -> str:
    return _ABSENT if pd.isna(value) else f"{value:.{decimals}f}"
