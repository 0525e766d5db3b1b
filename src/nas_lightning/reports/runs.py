"""Collect run folders with their summaries and configurations, as one frame."""

from __future__ import annotations

import glob
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from nas_lightning.config.aliases import current
from nas_lightning.config.schema import IGNORED_IN_COMPARISONS
from nas_lightning.config.sections import LOADING_KEYS
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.core.paths import exists, path_of
from nas_lightning.reports.goals import UNIT
from nas_lightning.runs import documents, layout
from nas_lightning.runs.completeness import missing
from nas_lightning.runs.folder import RunFolder

_log = logging.getLogger(__name__)

_STARTED = {layout.LOG, layout.METRICS, layout.GENOTYPES}  # files that a run writes before its summary
_COMPARED = ("pipeline", "search", "select", "evaluate")  # tasks whose outcomes are compared

# Column of the frame -> keys of its value in summary.json.
LABELS = {
    "method": ("method",),
    "space": ("space",),
    "data": ("data",),
    "recipe": ("evaluation", "recipe"),
    "metric": ("objective", "metric"),
}
SIZE = {
    "init_channels": ("evaluation", "init_channels"),
    "layers": ("evaluation", "layers"),
    "epochs": ("evaluation", "epochs"),
}
_NUMBERS = SIZE | {
    "seed": ("seed",),
    "test_accuracy": ("evaluation", "test_accuracy"),
    "test_metric": ("evaluation", "test_metric"),
    "params": ("evaluation", "params"),
    "macs": ("evaluation", "macs"),
    "search_val_accuracy": ("search", "val_accuracy"),
    "search_val_metric": ("search", "val_metric"),
    "search_seconds": ("search", "seconds"),
    "search_images": ("search", "images"),
    # Absent from older summaries, as are those that follow.
    "regret": ("evaluation", "regret"),
    "regret_published": ("evaluation", "regret_published"),
    "rank": ("evaluation", "rank"),
    "in_table": ("evaluation", "in_table"),
    "random_search_accuracy": ("evaluation", "random_search_accuracy"),
    "random_accuracy": ("evaluation", "random_accuracy"),
    "random_baseline": ("evaluation", "random_baseline", "mean"),
    "random_baseline_std": ("evaluation", "random_baseline", "std"),
    "dominant_eigenvalue": ("search", "dominant_eigenvalue"),
    "curvature_seconds": ("search", "curvature_seconds"),
    "selection_seconds": ("selection", "seconds"),
    "selection_images": ("selection", "images"),
    "evaluation_seconds": ("evaluation", "seconds"),
}
HASH = {"config_hash": ("config_hash",)}
_JUDGE = {"judge": ("search", "judge")}
_TABLE = {"table": ("evaluation", "table"), "judged_on": ("evaluation", "dataset")}
_NORMAL_CELL = ("genotype", "cells", "normal")  # lists of node, operation and source

# Keys of config.yaml, with all below them, that do not change what is compared.
_IGNORED = (
    *IGNORED_IN_COMPARISONS,
    *(f"data.{key}" for key in (*LOADING_KEYS, "root", "path", "download")),
    *("evaluation.random_baseline", "evaluation.random_folder"),
)


# Long: the columns are listed once, where they are made.
def collect(patterns: Sequence[str] | str) -> pd.DataFrame:
    """Read every run that the patterns find.

    Args:
        patterns: Run folders, folders that hold some at any depth, `summary.json` files, or globs of these
            (`**` crosses folders). A run that is found twice counts once, members of runs never.

    Returns:
        One row a run: `run` (its folder), `method`, `space`, `data`, `recipe`, `metric`, its `unit` and `direction`
        (`max` or `min`), `config_hash`; as numbers, nan where the run has none: `init_channels`, `layers`, `epochs`,
        `seed`, `test_accuracy` and `search_val_accuracy` (percent), or, of another metric, `test_metric` and
        `search_val_metric` (in its unit), `params`, `macs` (of one image), `search_seconds`, `regret` (percentage
        points below the best of a table), `regret_published` (likewise, from the lowest published error), `rank`
        (in the table, 1 for the best), `in_table` (1, or 0 where a partial table lacks the architecture),
        `random_search_accuracy` (percent, expected in the table), `random_accuracy` (percent, mean of all
        architectures of a table),
        `random_baseline` and `random_baseline_std` (of random genotypes trained by the same recipe, in the unit),
        `dominant_eigenvalue` (of the Hessian of the architecture loss, at the end of the search), `curvature_seconds`
        (the time of measuring it), `selection_seconds`, `evaluation_seconds`, `search_images` and `selection_images`
        (read by training steps), `skip_share` (percent of the normal cell's edges that are skip connections). As text
        `judge` (what judged the candidates of a search over a pool, None without one), `table` (that judged the
        network, None without one) and `judged_on` (the data set of that table, else `data`). `attrs["skipped"]` names
        the folders that look like runs and could not be read, each with the reason: `[(folder, reason), …]`;
        `attrs["unfinished"]` likewise the runs that have finished a part of their task; `attrs["analyses"]` the folders
        of finished analyses, each with its name: `[(folder, name), …]`.

    Raises:
        ConfigError: A pattern finds nothing that can be compared, or all find only analyses.
    """
    rows: dict[Path, dict[str, Any]] = {}
    skipped: dict[Path, tuple[str, str]] = {}
    analyses: dict[Path, tuple[str, str]] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        paths = dict.fromkeys(path.resolve() for path in summaries(pattern))
        rows |= {path: row for path in paths if path not in rows and (row := _read(path, skipped, analyses))}
        # Refuse here: a table that silently lacks the runs of a mistyped pattern would mislead.
        if not any(path in rows or path in analyses for path in paths):
            unread = [skipped[path] for path in paths if path in skipped]
            reason = f"that is no folder with a readable {layout.SUMMARY}"
            if unread:
                more = f", and {len(unread) - 1} more" if len(unread) > 1 else ""
                reason = f"only what cannot be compared: {unread[0][0]} ({unread[0][1]}){more}"
            raise ConfigError(
                f"runs='{pattern}' finds no run, {reason}; "
                "give run folders or a glob of them, for example runs='multirun/**'"
            )
    if not rows and analyses:
        raise ConfigError(
            f"runs={json.dumps(patterns)} finds only analyses, no run; name the analysed runs as well,"
            " for example runs='[multirun/**,outputs/**]'"
        )
    if not rows:
        raise ConfigError("runs is empty; give run folders or a glob of them, for example runs='multirun/**'")
    frame = pd.DataFrame(rows.values())
    frame = frame.astype(
        dict.fromkeys([*LABELS, *UNIT, *HASH, *_JUDGE, *_TABLE], object)
        | dict.fromkeys([*_NUMBERS, "skip_share"], float)
    )
    frame = frame.replace([float("inf"), -float("inf")], float("nan"))  # of a search that diverged
    frame.attrs["skipped"] = list(skipped.values())
    frame.attrs["unfinished"] = _unfinished(rows)
    frame.attrs["analyses"] = list(analyses.values())
    return frame


def _unfinished(rows: dict[Path, dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the runs that have not finished their task, each with what is missing; log the command for it."""
    found = []
    for path in rows:
        summary, run = documents.read_json(path), RunFolder(path.parent)
        part = missing(summary) if summary.get("task") else None
        if part is not None:
            found.append((str(path.parent), f"{part} not finished; its other results are counted"))
            _log.warning("%s: %s not finished; if it has stopped, continue with %s", run, part, run.command())
    return found


def read_config(run: Path) -> dict[str, str]:
    """Return the part of a run's configuration that matters to a comparison, empty where none can be read."""
    prefixes = tuple(f"{key}." for key in _IGNORED)
    return {key: value for key, value in _flatten(load_config(run)) if not f"{key}.".startswith(prefixes)}


def load_config(run: Path) -> dict[str, Any]:
    """Return a run's configuration with the current names of its targets, empty where none can be read."""
    try:
        content = documents.read_config(run / layout.CONFIG)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return current(content) if isinstance(content, dict) else {}


def _flatten(content: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted keys with their values as text; an empty dictionary is a value."""
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield f"{prefix}{key}", " ".join(text.split())


def summaries(pattern: str) -> Iterator[Path]:
    """Yield the `summary.json` files of a pattern as `collect` takes it, without those of parts of a run.

    Every folder is walked once, however often the pattern matches it. A folder with a run's
    configuration and first files but no summary was left by a kill: the missing summary is yielded, too.
    """
    path = path_of(pattern)
    # A folder may be called `[a]`: a path that exists is taken literally, not as a glob.
    matches = [str(path)] if exists(path) else sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207
    walked: set[str] = set()
    for match in map(os.path.normpath, matches):
        if set(layout.WITHIN_RUNS) & set(Path(os.path.relpath(match)).parts):
            continue
        if Path(match).name == layout.SUMMARY:
            yield Path(match)
        for root, folders, files in os.walk(match):
            if root in walked:
                folders.clear()
                continue
            walked.add(root)
            folders[:] = sorted(name for name in folders if name not in layout.WITHIN_RUNS)
            if layout.SUMMARY in files or (layout.CONFIG in files and not _STARTED.isdisjoint(files)):
                yield Path(root, layout.SUMMARY)


def _read(
    path: Path, skipped: dict[Path, tuple[str, str]], analyses: dict[Path, tuple[str, str]]
) -> dict[str, Any] | None:
    """Return a run's row; None, with the reason noted and logged, where the file is not a run's summary."""
    try:
        content = documents.read_json(path)
        if isinstance(content, dict) and content.get("task") == "analyse":
            name = _get(content, ("analysis", "name"), str)
            if name is not None:
                analyses[path] = (str(path.parent), name)
            return None
        if not isinstance(content, dict) or content.get("method") is None:
            raise TypeError("it names no method")
        row: dict[str, Any] = {"run": str(path.parent)}
        row |= {name: _get(content, keys, str) for name, keys in (LABELS | HASH | _JUDGE | _TABLE).items()}
        row["judged_on"] = row["judged_on"] or row["data"]
        row |= {name: _get(content, keys, int, float) for name, keys in _NUMBERS.items()}
        row |= _unit(content, row)
        row["skip_share"] = _skip_share(_get(content, _NORMAL_CELL, list))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if path not in skipped:
            reason = (
                f"no {layout.SUMMARY} yet" if isinstance(error, FileNotFoundError) else f"{layout.SUMMARY}: {error}"
            )
            skipped[path] = (str(path.parent), " ".join(reason.split()))
            _log.warning("skipped %s: not the summary of a run (%s)", path, error)
        return None
    if content.get("search") or content.get("evaluation"):
        return row
    # Other tasks (a report, a landscape) leave a summary too, but have nothing to compare.
    if content.get("task") in _COMPARED:
        skipped[path] = (str(path.parent), "nothing is finished: neither the search nor an evaluation")
    return None


def _get(content: dict[str, Any], keys: Sequence[str], *types: type) -> Any:
    """Follow the keys to a value of one of the types; None where a key on the way is absent."""
    value: Any = content
    for key in keys:
        value = None if value is None else value.get(key)
    if not (value is None or isinstance(value, types)):
        raise TypeError(f"{'.'.join(keys)} is {value!r}")
    return value


def _unit(content: dict[str, Any], row: dict[str, Any]) -> dict[str, str]:
    """Return unit and direction of the metric, those of accuracy wherever the values stand under its keys."""
    for name in UNIT:
        _get(content, ("objective", name), str)
    goal = Goal.of(content)
    known = any(row[name] is not None for name in ("test_accuracy", "search_val_accuracy"))
    goal = ACCURACY if known or goal.word == "accuracy" else goal
    return {"unit": goal.unit, "direction": goal.direction}


def _skip_share(edges: Sequence[tuple[int, str, int]] | None) -> float | None:
    """Return the percentage of edges that are skip connections; None for a genotype without such a cell."""
    return 100 * sum(op == "skip_connect" for _, op, _ in edges) / len(edges) if edges else None
