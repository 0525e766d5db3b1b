"""The metrics that runs report: values by their column, and titles for one metric or several.

Accuracies and other fractions that are maximised stand in columns `…_accuracy`, in percent; any other metric in columns
`…_metric`, in its unit (`core.objective.Goal.key`). So a row has a value in one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports.sheets import ABSENT

UNIT = ("unit", "direction")
"""Columns of a frame of runs that say, with `metric`, what its values are."""


def goal_of(rows: pd.DataFrame) -> Goal:
    """Return the metric that runs of one setting share; accuracy where they do not say it."""
    named = {name: rows[name].dropna() for name in ("metric", *UNIT) if name in rows}
    return Goal(**{name: str(found.iloc[0]) for name, found in named.items() if len(found)})  # type: ignore[arg-type]


def goal_of_row(row: Mapping[Any, Any]) -> Goal:
    """Return the metric of one run or group of runs; accuracy where it does not say it."""
    said = {name: row.get(name) for name in ("metric", *UNIT)}
    return Goal(**{name: str(value) for name, value in said.items() if pd.notna(value)})  # type: ignore[arg-type]


def goals_of(rows: pd.DataFrame) -> list[Goal]:
    """Return the metrics that runs report, in the order of their first rows."""
    names = [name for name in ("metric", *UNIT) if name in rows]
    return list(dict.fromkeys(map(goal_of_row, rows[names].drop_duplicates().to_dict("records"))))


def with_goals(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of metrics to a frame that lacks them, as one whose runs all report accuracies may."""
    others = ("test_metric", "search_val_metric")
    missing: dict[str, Any] = {"unit": ACCURACY.unit, "direction": ACCURACY.direction} | dict.fromkeys(
        others, float("nan")
    )
    return frame.assign(**{name: value for name, value in missing.items() if name not in frame})


def is_tested(frame: pd.DataFrame) -> pd.Series[bool]:
    """Return for each row whether it has a value on the test images, in whatever metric."""
    return frame[[name for name in ("test_accuracy", "test_metric") if name in frame]].notna().any(axis=1)


def accuracies_only(goals: Sequence[Goal]) -> bool:
    """Return True if all values stand in the columns of accuracies."""
    return all(goal.word == "accuracy" for goal in goals)


def shared_name(goals: Sequence[Goal]) -> str:
    """Return the name of the metric; `values` where there are several.

    >>> shared_name([Goal("mean_absolute_error", "", "min")]), shared_name([Goal(), Goal("mean_absolute_error")])
    ('mean absolute error', 'values')
    """
    names = {goal.name for goal in goals} or {ACCURACY.name}
    return names.pop() if len(names) == 1 else "values"


def value_heading(goals: Sequence[Goal]) -> str:
    """Return the title of a column of test values; it names no metric where the rows do.

    >>> error = Goal("mean_absolute_error", "px", "min")
    >>> value_heading([Goal()]), value_heading([error]), value_heading([Goal(), error])
    ('test %', 'test mean absolute error (px)', 'test')
    """
    if accuracies_only(goals):
        return "test %"
    return f"test {goals[0].axis(goals[0].name)}" if len(goals) == 1 else "test"


def heading(text: str, goals: Sequence[Goal]) -> str:
    """Return the title of a further column of values, with the unit that all share.

    >>> error = Goal("mean_absolute_error", "px", "min")
    >>> heading("random", [Goal()]), heading("random", [error]), heading("random", [Goal(), error])
    ('random %', 'random (px)', 'random')
    """
    if len({goal.unit for goal in goals}) > 1:
        return text
    goal = goals[0] if goals else ACCURACY
    return f"{text} %" if goal.unit == "%" else goal.axis(text)


def value_text(goal: Goal, value: Any) -> str:
    """Format a value without its unit; a dash where there is none."""
    return ABSENT if pd.isna(value) else goal.number(value)


def spread_text(goal: Goal, std: Any) -> str:
    """Format a standard deviation without its unit; a dash where there is none."""
    return ABSENT if pd.isna(std) else f"{std:.2f}" if goal.unit == "%" else f"{std:.2g}"


def mean_text(goal: Goal, mean: Any, std: Any) -> str:
    """Format a mean with its standard deviation, if there is one, and the unit."""
    return f"{goal.mean_and_std(mean, None if pd.isna(std) else std)} {goal.unit}".rstrip()
