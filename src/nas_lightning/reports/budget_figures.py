"""Draw the test value or the regret against what it cost: a panel for images, a panel for seconds."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nas_lightning.core.objective import Goal
from nas_lightning.reports.budgets import COSTS, POOL, RANDOM, RANDOM_NAME, ends_of, means
from nas_lightning.reports.style import INK, LONGEST, TITLE, Style, label, legend_columns, panels, tidy

MAX_NAMES = 16
"""Methods of a figure, those with the best values at the end."""
_LOG_RANGE = 30  # from so many times the smallest cost on, the axis is logarithmic
_BENT = 0.1  # points of regret below which its axis is linear where it is logarithmic above
AXES = {"images": "images read by training steps", "seconds": "search, selection, candidates (seconds)"}


def draw_budgets(rows: pd.DataFrame, goal: Goal, style: Style, title: str) -> Figure | None:
    """Draw searches as marks at their end, pools as steps from generation to generation, and random search as a line.

    The value is the regret where every run has one, else that on test.

    Args:
        rows: Of one setting, as `budgets.budgets` returns them.
        goal: The metric.
        style: Colours and markers of the names.
        title: Of the setting.

    Returns:
        None where fewer than two methods, random search included, have a cost and a value.
    """
    column = column_of(rows)
    rows = rows[rows[column].notna() & (rows[list(COSTS)] > 0).any(axis=1)]
    names = shown_names(rows, goal)
    rows = rows[rows["name"].isin(names)]
    if len(names) < 2:
        return None
    costs = [cost for cost in COSTS if (rows[cost] > 0).any()]
    columns = legend_columns(names)
    figure, axes = panels(len(costs), 2, 9.6, 3.9 + 0.17 * -(-len(names) // columns))
    value = "regret" if column == "regret" else f"test {goal.name}"
    heading = f"{value[0].upper()}{value[1:]} against what it cost"
    figure.suptitle(f"{heading}\n{label(title, TITLE)}", weight="bold", size=10)
    for panel, cost in zip(axes, costs, strict=True):
        _panel(panel, rows[rows[cost] > 0], cost, column, style)
        panel.set_xlabel(AXES[cost], size=9)
        axis = "regret (% accuracy)" if column == "regret" else goal.axis(value)
        panel.set_ylabel(label(axis, TITLE), size=9)
        if column == "regret" and rows[column].max() > 10 * max(rows[column].median(), _BENT):
            panel.set_yscale("symlog", linthresh=_BENT)
            panel.set_ylim(bottom=-_BENT / 5)  # marks at 0 are whole
        tidy(panel)
    figure.legend(
        handles=[_handle(rows, name, style) for name in names],
        frameon=False,
        fontsize=8.5,
        ncols=columns,
        loc="outside lower center",
    )
    return figure


def column_of(rows: pd.DataFrame) -> str:
    """Return the column that is drawn: `regret` where every run has one at its end, else `test`."""
    ends = ends_of(rows)
    return "regret" if len(ends) and ends["regret"].notna().all() else "test"


def shown_names(rows: pd.DataFrame, goal: Goal) -> list[str]:
    """Return the names that are drawn, the best mean at the end first, random search last."""
    ends = ends_of(rows).groupby("name")["test"].mean()
    best = (goal.sign * ends).sort_values(ascending=False, kind="stable").index[:MAX_NAMES]
    return [*map(str, best), *([RANDOM_NAME] if (rows["kind"] == RANDOM).any() else ())]


def _panel(axes: Axes, rows: pd.DataFrame, cost: str, column: str, style: Style) -> None:
    """Draw all that has this cost."""
    for (kind, name), same in means(rows).groupby(["kind", "name"], sort=False):
        x, y, std = (same[key].to_numpy(float) for key in (cost, column, f"{column}_std"))
        if kind == RANDOM:
            axes.plot(x, y, "--", color=INK, linewidth=1.3, zorder=1)
            continue
        colour, marker = style.colour(str(name)), style.marker(str(name))
        if kind == POOL:
            axes.plot(x, y, color=colour, linewidth=1.8, drawstyle="steps-post")
            axes.fill_between(x, y - std, y + std, color=colour, alpha=0.16, linewidth=0, step="post")
        else:
            single = rows[rows["name"] == name]
            axes.plot(single[cost], single[column], marker, color=colour, markersize=5, alpha=0.6, mew=0)
        axes.plot(x[-1], y[-1], marker, color=colour, markersize=9, markeredgecolor=INK, mew=0.9)
    if len(rows) and rows[cost].max() > _LOG_RANGE * rows[cost].min():
        axes.set_xscale("log")
    axes.margins(0.06)


def _handle(rows: pd.DataFrame, name: str, style: Style) -> Line2D:
    if name == RANDOM_NAME:
        return Line2D([], [], color=INK, linestyle="--", linewidth=1.3, label=RANDOM_NAME)
    same = rows[rows["name"] == name]
    text = f"{label(name, LONGEST)} (n = {same['run'].nunique()})"
    handle = Line2D([], [], color=style.colour(name), marker=style.marker(name), markersize=7, label=text)
    handle.set_linestyle("-" if (same["kind"] == POOL).any() else "")
    return handle
