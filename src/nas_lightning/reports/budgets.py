"""Compare what searches find at equal cost: differentiable ones, searches over a pool, and random search.

The cost is counted twice. Images: those that training steps read, each batch once a step; a step of a search over a
supernet reads one of the train half, and one of the arch half if it has an architecture step, and an entry of a table
costs what its training reads. However many passes a step makes over its batches, they count once, and evaluations on
val do not count. Seconds: those of search and selection, with the training of candidates; what is looked up in a table
takes no time that could be compared.

Random search is not run: its expectation is exact (`evaluation.chance`), and run folders hold it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas_lightning.core.objective import Goal
from nas_lightning.reports.groups import by_mean
from nas_lightning.reports.records import Problems
from nas_lightning.reports.sheets import Sheet, number
from nas_lightning.runs import layout, tables

log = logging.getLogger(__name__)

COSTS = ("images", "seconds")
SEARCH, POOL, RANDOM = "search", "pool", "random"
"""Kinds of rows: a finished search; a generation of a search over a pool; an expectation."""
RANDOM_NAME = "random search, expected"
COLUMNS = ("kind", "name", "run", "step", *COSTS, "test", "regret")


def budgets(runs: pd.DataFrame, goal: Goal, problems: Problems) -> pd.DataFrame:
    """Return what each run had found by when.

    Args:
        runs: Runs of one setting, as `label_runs` returns them.
        goal: Their metric.
        problems: Takes the folders whose tables cannot be read.

    Returns:
        Rows with `kind`, `name`, `run`, `step` (the generation of a pool; draws of random search), the costs up to
        then, nan where one is not known, `test` (in the unit of the metric) and `regret` (nan without a table).
        Runs without a value on test have none.
    """
    found: list[dict[str, Any]] = []
    for row in runs.to_dict("records"):
        folder = Path(row["run"])
        is_pool = (folder / layout.GENERATIONS).exists()
        with problems.noting(str(folder), layout.GENERATIONS):
            rows = _pool(folder, row, goal) if is_pool else [_search(row, goal)]
            for name in COSTS:
                if not any(one[name] > 0 for one in rows) and not (name == "seconds" and is_pool):
                    log.info("%s: left out where cost is in %s: its folder has no count of them", folder, name)
            found += rows
    return pd.DataFrame([*found, *_random(runs, problems)], columns=list(COLUMNS))


def _search(row: dict[Any, Any], goal: Goal) -> dict[str, Any]:
    costs = {"images": row["images"], "seconds": row["cost"]}
    values = {"test": row[goal.key("test")], "regret": row["regret"]}
    return {"kind": SEARCH, "name": row["name"], "run": row["run"], "step": 0, **costs, **values}


def _pool(folder: Path, row: dict[Any, Any], goal: Goal) -> list[dict[str, Any]]:
    """Return a row a generation where their candidates have a regret, else one for the end."""
    test, regret = row[goal.key("test")], row["regret"]
    spent, found = 0.0, []
    for generation in tables.read(folder / layout.GENERATIONS):
        spent += float(generation["seconds"])
        own = float(generation.get("regret") or "nan")
        found.append(
            {
                "kind": POOL,
                "name": row["name"],
                "run": row["run"],
                "step": int(generation["generation"]),
                "images": float(generation.get("images_spent") or "nan"),
                "seconds": spent if row["judge"] == "training" else np.nan,
                "test": test + regret - own,  # both count from the best of the table
                "regret": own,
            }
        )
    if not found or np.isnan(found[-1]["test"]):
        return [one | {"test": test, "regret": regret} for one in found[-1:]]
    return found


def _random(runs: pd.DataFrame, problems: Problems) -> list[dict[str, Any]]:
    """Return the expectation of random search, of the first run whose folder has it: all have one table."""
    for run in runs["run"]:
        path = Path(run) / layout.RANDOM_SEARCH
        if not path.exists():
            continue
        with problems.noting(str(run), layout.RANDOM_SEARCH):
            return [
                {
                    "kind": RANDOM,
                    "name": RANDOM_NAME,
                    "run": run,
                    "step": int(row["draws"]),
                    "images": float(row["images_spent"] or "nan"),
                    "seconds": np.nan,
                    "test": float(row["test_accuracy"]),
                    "regret": float(row["regret"]),
                }
                for row in tables.read(path)
            ]
    return []


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean costs and values over the runs of a name, step by step while all of them have the step.

    Args:
        rows: What `budgets` returns.

    Returns:
        `kind`, `name`, `step`, `runs`, `images`, `seconds`, and of `test` and `regret` each mean and `…_std` (of a
        sample, nan for one run).
    """
    keys = ["kind", "name"]
    if rows.empty:
        return pd.DataFrame(columns=[*keys, "step", "runs", *COSTS, "test", "test_std", "regret", "regret_std"])
    table = rows.groupby([*keys, "step"], sort=False).agg(
        runs=("run", "nunique"),
        images=("images", _mean),
        seconds=("seconds", _mean),
        test=("test", _mean),
        test_std=("test", "std"),
        regret=("regret", _mean),
        regret_std=("regret", "std"),
    )
    table = table.reset_index()
    everyone = rows.groupby(keys)["run"].nunique().rename("all").reset_index()
    whole = table.merge(everyone, on=keys, how="left")
    return table[(whole["runs"] == whole["all"]).to_numpy()]


def _mean(values: pd.Series[Any]) -> float:
    """Return the mean; nan where a run lacks the value, whose mean over the others would be of fewer runs."""
    return float(values.mean(skipna=False))


def ends_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of each run as it stands: what is not known at its end is not that of a generation before.

    Args:
        rows: What `budgets` returns; those of random search are left out.
    """
    return rows[rows["kind"] != RANDOM].groupby("run", sort=False).tail(1)


def random_at(rows: pd.DataFrame, images: float, column: str) -> float:
    """Return what random search is expected to find with so many images, linear between the draws computed.

    Args:
        rows: What `budgets` returns.
        images: The cost.
        column: `test` or `regret`.

    Returns:
        nan where the images do not suffice for one draw, or no expectation is known.
    """
    curve = rows[(rows["kind"] == RANDOM) & rows["images"].notna()]
    if curve.empty or not images >= curve["images"].min():
        return np.nan
    return float(np.interp(images, curve["images"], curve[column]))


def answer(parts: list[tuple[str, pd.DataFrame, Goal, pd.DataFrame]]) -> Sheet | None:
    """Tabulate each method beside random search at the same number of images; None where nothing is known of it.

    Args:
        parts: Title, runs and metric of each setting, and what `budgets` returns for it.
    """
    lines = []
    for title, runs, goal, rows in parts:
        ends = ends_of(rows).set_index("run")
        for name, same in by_mean(runs, goal):
            end = ends.reindex(same["run"])
            expected = pd.Series([random_at(rows, images, "test") for images in end["images"]], index=end.index)
            if expected.isna().any() or end["test"].isna().any():
                continue
            gain = goal.sign * (end["test"] - expected)
            lines.append(
                [
                    *(name, title, str(len(end)), number(end["images"].mean() / 1e6, 3)),
                    *map(goal.number, (end["test"].mean(), expected.mean())),
                    *(f"{gain.mean():+.2f}", f"{int((gain > 0).sum())} of {len(gain)}"),
                ]
            )
    header = ["method", "setting", "runs", "images M", "test %", "random at that cost %", "gain", "ahead"]
    note = (
        "The last column counts the runs that are better than random search is expected to be after the draws that"
        " their images pay for. Images are those that training steps read; a draw costs the training that random search"
        " chooses by."
    )
    words = ("method", "setting", "ahead")
    lead = ("method", "test %", "random at that cost %", "gain", "ahead")
    return Sheet("budgets", "At equal cost", header, lines, words, note, lead) if lines else None
