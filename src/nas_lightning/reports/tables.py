"""One table from any set of runs: mean ± standard deviation, median and best, group by group.

`collect` reads the runs, `summarise` does the statistics and, where runs under the same labels had different
configurations, says what differs; `write` and `show` only format.
"""

from __future__ import annotations

import glob
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd
import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas_lightning.errors import ConfigError

_log = logging.getLogger(__name__)

_SUMMARY = "summary.json"
_CONFIG = "config.yaml"
_CANDIDATES = "candidates"  # their members belong to a run and are none themselves

# Column of the frame -> where its value stands in summary.json.
_LABELS = {
    "method": ("method",),
    "space": ("space",),
    "data": ("data",),
    "recipe": ("evaluation", "recipe"),
    "metric": ("objective", "metric"),
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
# Absent from older summaries.
_HASH = {"config_hash": ("config_hash",)}
# Runs that were judged by networks of different sizes are not comparable, so the size is part of the group; nor are
# runs of different configurations, which `variant` tells apart where all these agree.
_GROUP = [*_LABELS, *_SIZE]

# Keys of config.yaml, with all below them, that do not change what is compared.
_IGNORED = (
    *("seed", "threads", "runs", "genotype", "sweep", "trusted", "task", "trainer", "logger", "callbacks"),
    *("data.num_workers", "data.root", "data.path", "data.download"),
)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # about ten times as fast, where there is one

# What readers see: columns of words (the others hold numbers), and the signs for a value that is not there.
_TEXTS = (*_LABELS, "channels/layers/epochs", "variant")
_ABSENT = "–"
_NO_HASH = "no hash"
_VARIANT_LENGTH = 60


def collect(patterns: Sequence[str] | str) -> pd.DataFrame:
    """Reads every run that the patterns find.

    Args:
        patterns: Run folders, folders that hold some at any depth, `summary.json` files, or globs of these
            (`**` crosses folders). A run that is found twice counts once, members of `candidates/` never.

    Returns:
        One row a run: `run` (its folder), `method`, `space`, `data`, `recipe`, `metric`, `config_hash`; as
        numbers, nan where the run has none: `init_channels`, `layers`, `epochs`, `seed`, `test_accuracy` and
        `search_val_accuracy` (percent), `params`, `search_seconds`.

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
    return frame.astype(dict.fromkeys(_LABELS | _HASH, object) | dict.fromkeys(_NUMBERS, float))


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Groups runs by method, space, data, recipe, metric, size of the evaluated network and configuration.

    Args:
        frame: What `collect` returns.

    Returns:
        One row a group, best mean first: `method`, `space`, `data`, `recipe`, `metric`, `init_channels`,
        `layers`, `epochs`, `variant`, `config_hash`, `runs`, `n` (the runs that have a test accuracy),
        `test_accuracy_{mean,std,median,best}` and `search_val_accuracy_mean` in percent,
        `params_millions_mean`, `search_seconds_mean`. The standard deviation is that of a sample: one run has
        none. `variant` says what distinguishes the configuration from those of the groups that have the same
        labels, and is empty where there are no others. Runs without a hash make up one group.
    """
    summary = (
        frame.groupby([*_GROUP, *_HASH], dropna=False, sort=False)
        .agg(
            run=("run", "first"),
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
    summary.insert(len(_GROUP), "variant", "")
    for _, same in summary.groupby(_GROUP, dropna=False, sort=False):
        if len(same) > 1:
            summary.loc[same.index, "variant"] = _variants(list(same["config_hash"]), list(same["run"]))
    summary = summary.drop(columns="run").astype(dict.fromkeys(_SIZE, "Int64"))
    summary["params_millions_mean"] /= 1e6
    rank = ["data", "space", "recipe", "metric", *_SIZE, "test_accuracy_mean", "method"]
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
    """Prints the table, by default to stdout; the labels that all groups share stand in the caption."""
    header, *lines = _cells(summary)
    shared = [
        index
        for index, name in enumerate(header)
        if name in _TEXTS and name != "method" and len({line[index] for line in lines}) == 1
    ]
    facts = [f"{header[index]} {lines[0][index]}" for index in shared]
    if "metric" not in header and summary["metric"].notna().all():
        facts.append(f"metric {summary['metric'].iloc[0]}")
    caption = Text(" · ".join(facts)) if facts else None
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
        row |= {name: _get(content, keys, str) for name, keys in (_LABELS | _HASH).items()}
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


def _variants(hashes: Sequence[Any], runs: Sequence[str]) -> list[str]:
    """Says of every hash what distinguishes its configuration, read from its run; if that is unknown, the hash."""
    # Runs without a hash may differ among themselves, so that none stands for all.
    configs = [{} if pd.isna(digest) else _config(Path(run)) for digest, run in zip(hashes, runs, strict=True)]
    known = [config for config in configs if config]
    keys = dict.fromkeys(key for config in known for key in config)
    differing = [key for key in keys if len({config.get(key) for config in known}) > 1]
    texts = []
    for config in configs:
        values = {key: config[key] for key in differing if key in config}
        pairs = (
            f"{key}={value.rpartition('.')[2] if key.endswith('_target_') else value}" for key, value in values.items()
        )
        text = ", ".join(pairs)
        texts.append(text if len(text) <= _VARIANT_LENGTH else text[: _VARIANT_LENGTH - 1] + "…")
    counts = Counter(texts)  # what was cut may be all that differs
    return [
        _NO_HASH if pd.isna(digest) else text if text and counts[text] == 1 else str(digest)
        for digest, text in zip(hashes, texts, strict=True)
    ]


def _config(run: Path) -> dict[str, str]:
    """Returns what a run's configuration says about the comparison, empty where none can be read."""
    try:
        content = yaml.load((run / _CONFIG).read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    prefixes = tuple(f"{key}." for key in _IGNORED)
    flat = _flatten(content) if isinstance(content, dict) else ()
    return {key: value for key, value in flat if not f"{key}.".startswith(prefixes)}


def _flatten(content: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields dotted keys with their values as text; an empty dictionary is a value."""
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield f"{prefix}{key}", " ".join(text.split())


def _cells(summary: pd.DataFrame) -> list[list[str]]:
    """Formats the table, header first; without a metric that all share, and without variants if there are none."""
    header = [*_TEXTS, "n", "test % ± std", "median", "best", "search val %", "params M", "search s"]
    lines = []
    for row in summary.to_dict("records"):
        size = "/".join(_number(row[name], 0) for name in _SIZE)
        lines.append(
            [
                *(_ABSENT if pd.isna(row[name]) else str(row[name]) for name in _LABELS),
                size if any(character.isdigit() for character in size) else _ABSENT,
                row["variant"],
                str(row["n"]) if row["n"] == row["runs"] else f"{row['n']} of {row['runs']}",
                f"{_number(row['test_accuracy_mean'])} ± {_number(row['test_accuracy_std'])}",
                _number(row["test_accuracy_median"]),
                _number(row["test_accuracy_best"]),
                _number(row["search_val_accuracy_mean"]),
                _number(row["params_millions_mean"]),
                _number(row["search_seconds_mean"], 1),
            ]
        )
    shown = {"metric": summary["metric"].nunique(dropna=False) > 1, "variant": summary["variant"].any()}
    kept = [index for index, name in enumerate(header) if shown.get(name, True)]
    return [[line[index] for index in kept] for line in (header, *lines)]


def _number(value: Any, decimals: int = 2) -> str:
    return _ABSENT if pd.isna(value) else f"{value:.{decimals}f}"
