"""Draw a value measured epoch by epoch in many runs: a panel a method, mean ± std over its runs.

The dominant eigenvalue with stops and rollbacks (Zela et al., RobustDARTS, ICLR 2020, figures 4 and 5) and the regret
on a table of architectures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nas_lightning.reports.groups import count_text
from nas_lightning.reports.style import CONTEXT, INK, TITLE, Style, label, panels, tidy, title_panels

MAX_METHODS = 24
"""Panels of a figure; further methods, in alphabetical order, are left out."""
MAX_LINES = 12
"""Runs of a panel that are drawn with a line and marks of their own; means are over all."""
LOG_RANGE = 30
"""Where the largest value is so many times the median, the axis is logarithmic."""
_EVENTS = {"stopped": ("X", "stopped"), "rolled back": ("v", "rolled back")}


def draw_eigenvalues(rows: pd.DataFrame, style: Style, title: str) -> Figure | None:
    """Draw the dominant eigenvalue by epoch of the search.

    Args:
        rows: Of one setting: `run`, `method`, `epoch`, `attempt`, `dominant_eigenvalue`, `event` (empty, `stopped` or
            `rolled back`).
        style: Colours of the methods.
        title: Of the figure.

    Returns:
        None where nothing has been measured.
    """
    rows = rows.assign(epoch=rows["epoch"] + 1)
    return _draw(rows, "dominant_eigenvalue", ("epochs of the search", "dominant eigenvalue"), style, title)


def draw_regret(rows: pd.DataFrame, ends: pd.DataFrame, style: Style, title: str) -> Figure | None:
    """Draw the regret of the architecture derived after each epoch: best of the table minus its test accuracy.

    Methods that derive an architecture only at the end (DARTS-PT, random search) have a level line at its regret.

    Args:
        rows: Of one setting: `run`, `method`, `epoch`, `attempt`, `regret` in points of accuracy.
        ends: Of the same setting: `run`, `method`, `regret` at the end; those of methods in `rows` are not drawn.
        style: Colours of the methods.
        title: Of the figure.

    Returns:
        None where no run has a regret by epoch.
    """
    rows = rows[np.isfinite(rows["regret"])].assign(epoch=rows["epoch"] + 1)
    ends = ends[~ends["method"].isin(rows["method"])]
    level = [ends.assign(epoch=epoch, attempt=0.0) for epoch in (rows["epoch"].min(), rows["epoch"].max())]
    rows = pd.concat([rows, *(same for same in level if len(same))])
    at_end = frozenset(ends["method"])
    return _draw(rows, "regret", ("epochs of the search", "regret (% accuracy)"), style, title, at_end)


def mean_over_runs(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return mean and standard deviation at the epochs at which all runs of a method were measured.

    The mean ends with the first run that ends: that of the remaining runs would jump.

    Args:
        rows: Of one method: `run`, `epoch` and the column.
        column: The column to average.

    Returns:
        `mean` and `std` (of a sample; nan for one run) by epoch.
    """
    table = rows.groupby("epoch")[column].agg(["mean", "std", "count"])
    return table[table["count"] == rows["run"].nunique()][["mean", "std"]]


def _draw(
    rows: pd.DataFrame,
    column: str,
    axis: tuple[str, str],
    style: Style,
    title: str,
    level: frozenset[str] = frozenset(),
) -> Figure | None:
    """Draw the figure; methods in `level` have one value, at the end."""
    rows = rows[np.isfinite(rows[column])]
    if rows.empty:
        return None
    methods = sorted(rows["method"].unique())[:MAX_METHODS]
    by_method = {method: rows[rows["method"] == method] for method in methods}
    means = {method: mean_over_runs(same, column) for method, same in by_method.items()}
    figure, axes = panels(len(methods), 4 if len(methods) > 4 else 2, 9.6, 2.5, shared=True)
    figure.suptitle(label(title, TITLE), weight="bold", size=10)
    happened = False
    for panel, method in zip(axes, methods, strict=True):
        for other, mean in means.items():
            if other != method:
                panel.plot(mean.index, mean["mean"], color=CONTEXT, linewidth=1, zorder=1)
        line = "--" if method in level else "-"
        _draw_method(panel, by_method[method], means[method], column, style.colour(method), line)
        happened |= _mark(panel, by_method[method], column)
        tidy(panel)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        panel.xaxis.set_tick_params(labelbottom=True)
    counts = [count_text(by_method[method]) for method in methods]
    counts = [f"{count}, at the end" if m in level else count for m, count in zip(methods, counts, strict=True)]
    title_panels(axes, [f"{method} ({count})" for method, count in zip(methods, counts, strict=True)])
    values = rows[column]
    if values.min() > 0 and values.max() > LOG_RANGE * values.median():
        axes[0].set_yscale("log")
    for panel in axes[-4 if len(methods) > 4 else -2 :]:  # the last of each column
        panel.set_xlabel(axis[0], size=9)
    figure.supylabel(axis[1], size=9)
    figure.legend(
        handles=_legend(len(methods) > 1, happened), frameon=False, fontsize=8, ncols=5, loc="outside lower center"
    )
    return figure


def _draw_method(panel: Axes, rows: pd.DataFrame, mean: pd.DataFrame, column: str, colour: str, line: str) -> None:
    """Draw thin lines of runs, interrupted at rollbacks, under the mean and its band."""
    for _, same in _shown(rows).groupby(["run", "attempt"], sort=False, dropna=False):
        dot = "." if len(same) == 1 else ""
        panel.plot(same["epoch"], same[column], color=colour, linewidth=0.7, alpha=0.5, marker=dot, zorder=2)
    panel.fill_between(
        mean.index.to_numpy(float),
        (mean["mean"] - mean["std"]).to_numpy(float),
        (mean["mean"] + mean["std"]).to_numpy(float),
        color=colour,
        alpha=0.18,
        linewidth=0,
    )
    panel.plot(
        mean.index,
        mean["mean"],
        color=colour,
        linewidth=2.2,
        zorder=3,
        marker="o" if line == "-" else "",
        markersize=2.5,
        linestyle=line,
    )


def _mark(panel: Axes, rows: pd.DataFrame, column: str) -> bool:
    """Mark where a control stopped a search or rolled it back; return True if any did."""
    if "event" not in rows:
        return False
    happened = False
    shown = _shown(rows)
    for event, (marker, _) in _EVENTS.items():
        at = shown[shown["event"] == event]
        if not at.empty:
            panel.plot(at["epoch"], at[column], marker, color=INK, markersize=6, zorder=4)
            happened = True
    return happened


def _shown(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["run"].isin(rows["run"].unique()[:MAX_LINES])]


def _legend(several: bool, happened: bool) -> list[Any]:
    handles = [
        Line2D([], [], color=INK, linewidth=2.2, label="mean (band: ± std)"),
        Line2D([], [], color=INK, linewidth=0.7, alpha=0.5, label="a run"),
    ]
    if several:
        handles.append(Line2D([], [], color=CONTEXT, label="means of the other methods"))
    if happened:
        handles += [
            Line2D([], [], color=INK, marker=marker, linestyle="", label=text) for marker, text in _EVENTS.values()
        ]
    return handles
