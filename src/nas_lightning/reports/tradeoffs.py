"""Draw the test accuracy of runs, or another metric, against the size of their networks and the cost of search.

The Pareto front joins the runs that no other one equals or beats in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nas_lightning.reports.goals import goal_of
from nas_lightning.reports.groups import by_mean, setting_text
from nas_lightning.reports.style import INK, LONGEST, TITLE, Style, label, legend_columns, tidy

MAX_NAMES = 16
"""Methods of a figure, those with the best means."""
_LOG_RANGE = 30  # from so many times the smallest value on, the axis is logarithmic


@dataclass(frozen=True)
class Price:
    """A column that the metric is drawn against.

    Args:
        name: Of the figure's files.
        column: Of the frame.
        title: In the title of the figure.
        units: Smallest maximum -> divisor and label of the axis, the largest first.
    """

    name: str
    column: str
    title: str
    units: tuple[tuple[float, float, str], ...]


PRICES = (
    Price(
        "parameters",
        "params",
        "parameters",
        ((1e5, 1e6, "parameters (millions)"), (0.0, 1e3, "parameters (thousands)")),
    ),
    Price(
        "macs",
        "macs",
        "multiply-accumulates",
        ((1e5, 1e6, "multiply-accumulates (millions)"), (0.0, 1e3, "multiply-accumulates (thousands)")),
    ),
    Price(
        "search_cost",
        "cost",
        "search cost",
        (
            (3 * 3600.0, 3600.0, "search and selection (hours)"),
            (300.0, 60.0, "search and selection (minutes)"),
            (0.0, 1.0, "search and selection (seconds)"),
        ),
    ),
)


def pareto_front(prices: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the places of the points that no other one equals or beats in both, cheapest first.

    Args:
        prices: Smaller is better.
        values: Larger is better. Of equal points the first is on the front.

    >>> pareto_front([3.0, 1.0, 2.0, 2.0], [90.0, 80.0, 85.0, 79.0])
    [1, 2, 0]
    """
    front: list[int] = []
    for place in sorted(range(len(prices)), key=lambda place: (prices[place], -values[place])):
        if not front or values[place] > values[front[-1]]:
            front.append(place)
    return front


def draw_tradeoff(rows: pd.DataFrame, price: Price, title: str, style: Style) -> Figure | None:
    """Draw a small mark a run, a large one at the mean of each method, and the Pareto front of all drawn runs.

    Args:
        rows: Runs of one setting that have a value on the test images, as `label_runs` returns them.
        price: What the metric is drawn against.
        title: Of the setting.
        style: Colours and markers of the names.

    Returns:
        None where fewer than two runs have both values.
    """
    rows = rows[rows[price.column] > 0]
    if len(rows) < 2:
        return None
    goal = goal_of(rows)
    groups = by_mean(rows, goal)[:MAX_NAMES]
    _, divisor, unit = next(entry for entry in price.units if rows[price.column].max() >= entry[0])
    columns = legend_columns([name for name, _ in groups])
    figure = Figure(figsize=(6.4, 3.9 + 0.17 * -(-len(groups) // columns)), layout="constrained", facecolor="white")
    heading = f"Test {goal.name} against {price.title}\n{label(setting_text(title, rows), TITLE)}"
    figure.suptitle(heading, weight="bold", size=10)
    axes = figure.add_subplot()
    handles = []
    for name, same in groups:
        x, y = same[price.column] / divisor, same[goal.key("test")]
        marker, colour = style.marker(name), style.colour(name)
        axes.plot(x, y, marker, color=colour, markersize=5, alpha=0.7, mew=0)
        axes.plot(x.mean(), y.mean(), marker, color=colour, markersize=10, markeredgecolor=INK, mew=0.9)
        text = label(name, LONGEST)
        handles.append(Line2D([], [], linestyle="", marker=marker, color=colour, markersize=7, label=text))
    drawn = pd.concat([same for _, same in groups])
    drawn = drawn[drawn[goal.key("test")].notna()]
    front = pareto_front(drawn[price.column].tolist(), (goal.sign * drawn[goal.key("test")]).tolist())
    best = drawn.iloc[front]
    axes.plot(
        best[price.column] / divisor,
        best[goal.key("test")],
        color=INK,
        lw=0.9,
        ls=":",
        drawstyle="steps-post",
        zorder=1,
    )
    handles.append(Line2D([], [], color=INK, lw=0.9, ls=":", label="Pareto front of the runs"))
    if rows[price.column].max() > _LOG_RANGE * rows[price.column].min():
        axes.set_xscale("log")
    axes.set_xlabel(unit, size=9)
    axes.set_ylabel(label(goal.axis(f"test {goal.name}"), TITLE), size=9)
    axes.margins(0.08)
    tidy(axes)
    figure.legend(handles=handles, frameon=False, fontsize=8.5, ncols=columns, loc="outside lower center")
    return figure
