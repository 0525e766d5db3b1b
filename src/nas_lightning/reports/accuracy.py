"""Draw the test accuracy of methods, or another metric: a dot a seed, the mean, and what it is to be compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from nas_lightning.core.objective import Goal
from nas_lightning.reports.goals import goal_of, mean_text
from nas_lightning.reports.groups import by_mean, setting_text
from nas_lightning.reports.style import INK, TITLE, Style, label

MAX_ROWS = 30
"""Rows of a figure, those with the best means."""
_NAME = 44  # characters of a name
_SPREAD = 0.2  # height over which the dots of a row are spread, so that equal ones are seen


def draw_accuracy(rows: pd.DataFrame, title: str, style: Style) -> Figure:
    """Draw a row a method, the best mean on top.

    Args:
        rows: Runs of one setting that have a value on the test images, as `label_runs` returns them.
        title: Of the setting.
        style: Colours and markers of the names.

    Returns:
        The figure. A dotted line is the mean of random genotypes, a dashed one the accuracy that random search
        is expected to find, where they are known; a diamond is the published value of the method, where it is
        comparable.
    """
    goal = goal_of(rows)
    groups = by_mean(rows, goal)[:MAX_ROWS]
    figure = Figure(figsize=(6.4, 0.3 * len(groups) + 1.7), layout="constrained", facecolor="white")
    figure.suptitle(f"Test {goal.name} by method\n{label(setting_text(title, rows), TITLE)}", weight="bold", size=10)
    axes = figure.add_subplot()
    for place, (name, same) in enumerate(groups):
        values = same.sort_values("seed", kind="stable")[goal.key("test")].to_numpy(float)
        heights = place + (np.linspace(-_SPREAD, _SPREAD, len(values)) if len(values) > 1 else np.zeros(1))
        axes.plot(values, heights, style.marker(name), color=style.colour(name), markersize=6, alpha=0.7, mew=0)
        if len(values) > 1:  # the mean of one would hide it
            axes.plot(
                [values.mean()] * 2, [place - 0.34, place + 0.34], color=INK, linewidth=2.2, solid_capstyle="butt"
            )
        if pd.notna(published := same["published"].iloc[0]):
            axes.plot(published, place, "D", markersize=8, markerfacecolor="none", markeredgecolor=INK, mew=1.3)
    levels = _levels(rows, goal)
    for value, _, line in levels:
        axes.axvline(value, color="#7F7F7F", linestyle=line, linewidth=1.2, zorder=1)
    names = [f"{label(name, _NAME)} (n = {len(same)})" for name, same in groups]
    axes.set_yticks(range(len(groups)), names, size=9)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlabel(label(goal.axis(f"test {goal.name}"), TITLE), size=9)
    axes.margins(x=0.06)
    _tidy(axes)
    has_published = any(same["published"].notna().any() for _, same in groups)
    handles = _legend(levels, has_published)
    figure.legend(handles=handles, frameon=False, fontsize=8.5, ncols=2, loc="outside lower center")
    return figure


def answer(rows: pd.DataFrame, title: str) -> str:
    """Return one sentence: the best mean on the test images of a setting, and what random genotypes and search have."""
    goal = goal_of(rows)
    name, same = by_mean(rows, goal)[0]
    values = same[goal.key("test")]
    others = rows["name"].nunique() - 1
    rank = f", the best mean of {others + 1}" if others else ""
    rank += ", smaller is better" if others and goal.direction == "min" else ""
    found = mean_text(goal, values.mean(), values.std())
    text = f"{title}: test {goal.name} {found} with {name} (n = {len(values)}){rank}"
    if rows["random"].notna().any():
        text += f"; random genotypes have {goal.shown(rows['random'].mean())}"
    if rows["random_search_accuracy"].notna().any():
        text += f"; random search is expected to find {goal.shown(rows['random_search_accuracy'].mean())}"
    return f"{text}."


def _tidy(axes: Axes) -> None:
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)


def _levels(rows: pd.DataFrame, goal: Goal) -> list[tuple[float, str, LineStyleType]]:
    """Return what all methods are compared with: value, label and line style."""
    levels: list[tuple[float, str, LineStyleType]] = []
    decimals = 2 if goal.unit == "%" else 6
    for value, same in rows.groupby(rows["random"].round(decimals)):
        text = mean_text(goal, float(value), same["random_std"].mean())
        levels.append((float(value), f"random genotypes: {text}", ":"))
    found = sorted(set(rows["random_search_accuracy"].dropna().round(decimals)))
    return levels + [(value, f"random search, expected: {goal.shown(value)}", "--") for value in found]


def _legend(levels: Sequence[tuple[float, str, LineStyleType]], published: bool) -> list[Line2D]:
    handles = [
        Line2D([], [], marker="o", linestyle="", color="#7F7F7F", markersize=6, label="a seed"),
        Line2D([], [], marker="|", linestyle="", color=INK, markersize=11, mew=2.2, label="mean"),
    ]
    if published:
        handles.append(
            Line2D([], [], marker="D", linestyle="", markerfacecolor="none", color=INK, markersize=7, label="published")
        )
    handles += [Line2D([], [], color="#7F7F7F", linestyle=line, linewidth=1.2, label=text) for _, text, line in levels]
    return handles
