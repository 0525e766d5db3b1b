"""Draw the learning curves of many runs: a colour a method, a line a run and their mean."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports.groups import setting_text
from nas_lightning.reports.style import LONGEST, TITLE, Style, label, legend_columns, tidy
from nas_lightning.reports.trends import mean_over_runs

MAX_NAMES = 12
"""Methods of a figure, those with the best last value."""
LONG = 20
"""Epochs from which on the first fifth does not decide the scale."""
_MARKS = 10  # on a line
_THIN = 60  # runs up to which each has a line of its own


@dataclass(frozen=True)
class Curve:
    """A column of `metrics.csv` in one phase of a run.

    Args:
        phase: As the table names it.
        column: Accuracy in percent, or another metric in its unit.
        title: Of the figure.
        axis: Label of its axis.
        goal: The metric.
    """

    phase: str
    column: str
    title: str
    axis: str
    goal: Goal = ACCURACY


def curves(goal: Goal) -> tuple[Curve, Curve]:
    """Return the curves of runs that report a metric: the supernet on val, and the network found on the test images."""
    name = goal.name
    return (
        Curve("search", goal.key("val"), f"Search: {name} of the supernet", goal.axis(f"{name} on val"), goal),
        Curve(
            "evaluation", goal.key("test"), f"Evaluation: {name} of the network found", goal.axis(f"test {name}"), goal
        ),
    )


CURVES = curves(ACCURACY)


def draw_learning(rows: pd.DataFrame, curve: Curve, title: str, style: Style) -> Figure | None:
    """Draw an accuracy, or another metric, by epoch.

    Args:
        rows: Of one setting: `run`, `name`, `seed`, `phase`, `epoch`, `attempt` and the column of the curve.
        curve: What is drawn.
        title: Of the setting.
        style: Colours of the names.

    Returns:
        None where no run has a value. Epochs count from one; lines are interrupted where a search was rolled back.
        Means end with the first run that ends. From 20 epochs on, the axis begins with the worst value after a fifth
        of them: the first epochs would flatten what follows.
    """
    rows = rows[(rows["phase"] == curve.phase) & rows[curve.column].notna()]
    if rows.empty:
        return None
    rows = rows.assign(epoch=rows["epoch"] + 1)
    means = {str(name): mean_over_runs(same, curve.column)["mean"] for name, same in rows.groupby("name", sort=True)}
    names = sorted(means, key=lambda name: _last(means[name], curve.goal))[:MAX_NAMES]
    columns = legend_columns(names)
    figure = Figure(figsize=(6.4, 3.7 + 0.17 * -(-len(names) // columns)), layout="constrained", facecolor="white")
    figure.suptitle(f"{label(curve.title, TITLE)}\n{label(setting_text(title, rows), TITLE)}", weight="bold", size=10)
    axes = figure.add_subplot()
    few = rows["run"].nunique() <= _THIN
    for name in names:
        colour, same = style.colour(name), rows[rows["name"] == name]
        for _, part in same.groupby(["run", "attempt"], sort=False, dropna=False) if few else ():
            dot = "." if len(part) == 1 else ""
            axes.plot(part["epoch"], part[curve.column], color=colour, linewidth=0.7, alpha=0.5, marker=dot)
        mean = means[name]
        every = max(1, len(mean) // _MARKS)  # colours repeat after the eighth method, pairs with markers do not
        marker = style.marker(name)
        axes.plot(mean.index, mean, color=colour, linewidth=1.8, marker=marker, markersize=5, markevery=every)
    _cut(axes, rows[rows["name"].isin(names)], curve)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("epochs", size=9)
    axes.set_ylabel(label(curve.axis, TITLE), size=9)
    tidy(axes)
    handles = [
        Line2D([], [], color=style.colour(name), marker=style.marker(name), linewidth=1.8, markersize=5, label=text)
        for name in names
        for text in [label(name, LONGEST)]
    ]
    figure.legend(handles=handles, frameon=False, fontsize=8.5, ncols=columns, loc="outside lower center")
    return figure


def _last(mean: pd.Series[float], goal: Goal) -> tuple[bool, float]:
    """Return a key that sorts means by their last value, the best first and those without any last."""
    return (False, -goal.sign * mean.iloc[-1]) if len(mean) else (True, 0.0)


def _cut(axes: Axes, rows: pd.DataFrame, curve: Curve) -> None:
    """Limit the axis of a long training to values at least as good as the worst after its first fifth."""
    last = rows["epoch"].max()
    if last >= LONG:
        values, later = rows[curve.column], rows.loc[rows["epoch"] > last / 5, curve.column]
        low, high = (later.min(), values.max()) if curve.goal.direction == "max" else (values.min(), later.max())
        margin = 0.05 * (high - low)
        axes.set_ylim(low - margin, high + margin)
