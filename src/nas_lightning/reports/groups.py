"""Assign runs to the groups of the summary, so that figures show the rows of the table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports.goals import UNIT, is_tested
from nas_lightning.reports.runs import HASH, LABELS, SIZE

_KEYS = [*LABELS, *SIZE, *UNIT, *HASH]


def label_runs(frame: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Add what distinguishes the rows of the summary to each run.

    Args:
        frame: What `collect` returns.
        summary: What `summarise` returns for it, with published values where they are comparable.

    Returns:
        The frame with `group` (index of the run's row in the summary), `name` (the method, with its variant where
        there are several), `published` (percent, nan without one), `random` and `random_std` (of random
        genotypes, in the unit of the run: those trained beside it, else all of the table; nan where neither is known),
        `cost` (seconds of search and selection, nan where no search was timed) and `images` (those that their training
        steps read, nan where they were not counted).
    """
    groups = {_key(row): index for index, row in zip(summary.index, summary[_KEYS].to_numpy(), strict=True)}
    index = [groups[_key(row)] for row in frame[_KEYS].to_numpy()]
    names = [f"{m} · {v}" if v else str(m) for m, v in zip(summary["method"], summary["variant"], strict=True)]
    by_group = dict(zip(summary.index, names, strict=True))
    return frame.assign(
        group=index,
        name=[by_group[group] for group in index],
        published=[summary["published"][group] for group in index],
        random=frame["random_baseline"].fillna(frame["random_accuracy"]),
        random_std=frame["random_baseline_std"],
        cost=frame["search_seconds"] + frame["selection_seconds"].fillna(0.0),
        images=frame["search_images"] + frame["selection_images"].fillna(0.0),
    )


def repeated(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the runs that repeat the seed of another of the same configuration, each with the reason to be told.

    An evaluation by hand of the genotype that a search has found is one, beside the evaluation of the run itself.
    """
    found: list[tuple[str, str]] = []
    seen: dict[tuple[Any, ...], str] = {}
    judged = frame[is_tested(frame) & frame["seed"].notna()]
    for run, row in zip(judged["run"], judged[[*_KEYS, "seed"]].to_numpy(), strict=True):
        first = seen.setdefault(_key(row), str(run))
        if first != run:
            found.append((str(run), f"repeats the seed of {first} with the same configuration; both are counted"))
    return found


def by_mean(rows: pd.DataFrame, goal: Goal = ACCURACY) -> list[tuple[str, pd.DataFrame]]:
    """Split runs of one setting by `name`, the best mean on the test images first; names without a value come last."""
    parts = [(str(name), same) for name, same in rows.groupby("name", sort=True)]
    means = [goal.sign * same[goal.key("test")].mean() for _, same in parts]
    order = sorted(range(len(parts)), key=lambda i: (pd.isna(means[i]), -means[i] if pd.notna(means[i]) else 0.0))
    return [parts[i] for i in order]


def seeds_text(rows: pd.DataFrame) -> str:
    """Return the seeds of runs in words; empty where the runs do not say them.

    >>> seeds_text(pd.DataFrame({"seed": [2, 0, 1, 7]}))
    'seeds 0–2, 7'
    """
    if "seed" not in rows:
        return ""
    seeds = sorted({int(seed) for seed in pd.to_numeric(rows["seed"], errors="coerce").dropna()})
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(parts)}" if parts else ""


def setting_text(title: str, rows: pd.DataFrame) -> str:
    """Return the title of a setting, or of a method, with the seeds of its runs."""
    return ", ".join(part for part in (title, seeds_text(rows)) if part)


def count_text(rows: pd.DataFrame) -> str:
    """Return the number of runs with their seeds.

    >>> count_text(pd.DataFrame({"run": ["a", "b"], "seed": [0, 1]}))
    'n = 2, seeds 0–1'
    """
    return setting_text(f"n = {rows['run'].nunique()}", rows)


def _key(row: Iterable[Any]) -> tuple[Any, ...]:
    """Return labels that are equal where both are missing, and where both are the same number."""
    return tuple(None if pd.isna(value) else value for value in row)
