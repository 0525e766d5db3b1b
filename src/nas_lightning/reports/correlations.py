"""Correlate the measures at the end of a search with the quality of its architecture, in scatter plots and tables.

Dominant eigenvalue against test accuracy and error (Zela et al., RobustDARTS, ICLR 2020, figure 15) and against the
accuracy that the supernet loses by discretisation (figure 6); one-shot accuracy against test accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports.groups import setting_text
from nas_lightning.reports.records import EVALUATION_SETTING, SETTING, settings
from nas_lightning.reports.sheets import ABSENT, Sheet, number
from nas_lightning.reports.style import TITLE, Style, label, panels, tidy

MAX_PANELS = 4
FEWEST = 8
"""Runs below which nothing is drawn or tested: a correlation of fewer says next to nothing."""
_LONGEST = 120  # characters of a label or title, which may name a metric of a run folder
_NAMED = 32  # methods in a legend


@dataclass(frozen=True)
class Pair:
    """Two columns to plot against each other.

    Args:
        name: Of the figure's files.
        title: Of the figure.
        x: Column, and the label of its axis.
        y: Likewise.
        shared: Columns that runs must share to be in one panel.
    """

    name: str
    title: str
    x: tuple[str, str]
    y: tuple[str, str]
    shared: tuple[str, ...] = EVALUATION_SETTING


PAIRS = (
    Pair(
        "final_eigenvalue",
        "Test accuracy against the curvature at the end of the search",
        ("dominant_eigenvalue", "dominant eigenvalue at the end"),
        ("test_accuracy", "test accuracy (%)"),
    ),
    Pair(
        "mean_eigenvalue",
        "Test error against the mean curvature of the search",
        ("mean_eigenvalue", "mean dominant eigenvalue"),
        ("test_error", "test error (%)"),
    ),
    Pair(
        "one_shot",
        "Test accuracy against the accuracy of the supernet",
        ("search_val_accuracy", "one-shot accuracy on val (%)"),
        ("test_accuracy", "test accuracy (%)"),
    ),
)


def metric_pairs(goal: Goal, name: str) -> tuple[Pair, ...]:
    """Return the pairs of runs that report a metric that is no accuracy: as `PAIRS`, with the metric itself for both.

    Args:
        goal: The metric.
        name: What the names of the figures' files begin with.
    """
    test = (goal.key("test"), goal.axis(f"test {goal.name}"))
    x = {pair.name: pair.x for pair in PAIRS}
    x["one_shot"] = (f"search_{goal.key('val')}", goal.axis(f"{goal.name} of the supernet on val"))
    against = {
        "final_eigenvalue": "the curvature at the end of the search",
        "mean_eigenvalue": "the mean curvature of the search",
        "one_shot": "that of the supernet",
    }
    return tuple(
        Pair(f"{name}_{key}", f"Test {goal.name} against {text}", x[key], test) for key, text in against.items()
    )


def drop_pair(goal: Goal, name: str) -> Pair:
    """Return the pair of columns in tables of `analysis=discretization` that report `goal`."""
    points = replace(goal, unit="points") if goal.unit == "%" else goal
    return Pair(
        name,
        f"{goal.decline.capitalize()} of the {goal.name} on val by discretisation, against the curvature of the"
        " supernet",
        ("dominant_eigenvalue", "dominant eigenvalue"),
        ("drop", points.axis(f"{goal.decline} of {goal.name} on val")),
        SETTING,
    )


@dataclass(frozen=True)
class Correlation:
    """Linear and rank correlation of two columns.

    Attributes:
        n: Runs that have both.
        pearson: Linear correlation r; nan where a column is constant or n < 8, as is all that follows.
        pearson_p: Two-sided p-value.
        spearman: Correlation ρ of the ranks.
        spearman_p: Two-sided p-value.
    """

    n: int
    pearson: float = math.nan
    pearson_p: float = math.nan
    spearman: float = math.nan
    spearman_p: float = math.nan


def correlate(x: Iterable[float], y: Iterable[float]) -> Correlation:
    """Return Pearson's and Spearman's correlation over the pairs in which both are finite."""
    both = np.array([list(x), list(y)], dtype=float)
    both = both[:, np.isfinite(both).all(axis=0)]
    n = both.shape[1]
    if n < FEWEST or (both == both[:, :1]).all(axis=1).any():
        return Correlation(n)
    pearson, spearman = stats.pearsonr(*both), stats.spearmanr(*both)
    return Correlation(n, *(float(value) for value in (pearson[0], pearson[1], spearman[0], spearman[1])))


def draw_pair(frame: pd.DataFrame, pair: Pair, style: Style) -> Figure | None:
    """Draw a scatter plot of a pair of columns: a point a run, a panel a setting.

    Args:
        frame: A row a run: `run`, `method`, the columns of the pair and those that it shares.
        pair: The columns to draw.
        style: Colours and markers of the methods.

    Returns:
        None where no setting has eight runs with both values.
    """
    (x, x_label), (y, y_label) = pair.x, pair.y
    parts = [part for part in settings(_both(frame, pair), pair.shared, len(frame)) if len(part[1]) >= FEWEST][
        :MAX_PANELS
    ]
    if not parts:
        return None
    figure, axes = panels(len(parts), 2, 9.6, 3.6)
    figure.suptitle(label(pair.title, _LONGEST), weight="bold", size=10)
    for panel, (title, rows) in zip(axes, parts, strict=True):
        for method, same in rows.groupby("method", sort=True):
            size = 34 if len(rows) < 100 else 12
            marker = style.marker(str(method))
            panel.scatter(
                same[x], same[y], s=size, color=style.colour(str(method)), marker=marker, alpha=0.75, linewidths=0
            )
        panel.set_title(
            f"{label(setting_text(title, rows), TITLE)}\n{_text(correlate(rows[x], rows[y]))}", size=7.5, loc="left"
        )
        panel.set_xlabel(label(x_label, _LONGEST), size=9)
        panel.set_ylabel(label(y_label, _LONGEST), size=9)
        tidy(panel)
    drawn = sorted({str(method) for _, rows in parts for method in rows["method"]})
    handles = [
        Line2D(
            [], [], linestyle="", color=style.colour(name), marker=style.marker(name), markersize=5, label=label(name)
        )
        for name in drawn[:_NAMED]
    ]
    figure.legend(
        handles=handles, frameon=False, fontsize=8, ncols=1 if len(handles) <= 16 else 2, loc="outside right center"
    )
    return figure


def correlations(pairs: Iterable[tuple[Pair, pd.DataFrame]]) -> Sheet | None:
    """Tabulate the correlations of all pairs, in all settings that have eight runs; None without any."""
    lines = []
    for pair, frame in pairs:
        for title, rows in settings(_both(frame, pair), pair.shared, len(frame)):
            found = correlate(rows[pair.x[0]], rows[pair.y[0]])
            if found.n >= FEWEST:
                values = [number(found.pearson), probability(found.pearson_p)]
                values += [number(found.spearman), probability(found.spearman_p)]
                lines.append([pair.x[1], pair.y[1], title, str(found.n), *values])
    if not lines:
        return None
    header = ["of", "with", "setting", "n", "Pearson r", "p of r", "Spearman ρ", "p of ρ"]
    note = (
        "Over single runs of all methods of a setting; p is two-sided and not corrected for the number of correlations."
        " A correlation over few runs, or over methods that differ in more than curvature, proves nothing."
    )
    return Sheet(
        "correlations", "Correlations", header, lines, ("of", "with", "setting"), note, ("of", "Pearson r", "n")
    )


def discretizations(rows: pd.DataFrame, goal: Goal = ACCURACY, name: str = "discretization") -> Sheet | None:
    """Tabulate the accuracy, or other metric, that supernets lose by discretisation, mean by method.

    Args:
        rows: A row a run: `method`, `space`, `data`, `val_accuracy` and `discrete_accuracy` (or `…_metric`), `drop`,
            `dominant_eigenvalue`.
        goal: Metric of the values.
        name: Of the table's files.

    Returns:
        The table; None where there are no rows.
    """
    if rows.empty:
        return None

    def text(value: float) -> str:
        return ABSENT if pd.isna(value) else goal.number(value)

    lines = []
    for names, same in rows.groupby(["method", *SETTING], dropna=False):
        drop = f"{text(same['drop'].mean())} ± {text(same['drop'].std())}"
        values = [text(same[goal.key(part)].mean()) for part in ("val", "discrete")]
        lines.append([*map(str, names), str(len(same)), *values, drop, number(same["dominant_eigenvalue"].mean(), 3)])
    measured = [f"{what} {goal.unit}".rstrip() for what in ("supernet", "discretised")]
    change = f"{goal.decline} ± std"
    header = ["method", *SETTING, "n", *measured, change, "eigenvalue"]
    title = "Supernets when they are discretised"
    note = (
        f"Means over runs of the {goal.name} on val of the supernet, and of the same with the mixing weights of its"
        " genotype (zeros and ones), without retraining."
    )
    return Sheet(
        name,
        title if goal == ACCURACY else f"{title}: {goal.name}",
        header,
        lines,
        ("method", *SETTING),
        note,
        ("method", change),
    )


def probability(p: float) -> str:
    """Format a p-value with three decimals, or as smaller than 0.001."""
    return "< 0.001" if p < 0.001 else number(p, 3)


def _both(frame: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    return frame[np.isfinite(frame[pair.x[0]]) & np.isfinite(frame[pair.y[0]])]


def _text(found: Correlation) -> str:
    """Format a correlation in one line."""
    if math.isnan(found.pearson):
        return f"n = {found.n}, no correlation: one of the two is constant"
    pearson = f"Pearson r = {found.pearson:.2f} (p {_equals(found.pearson_p)})"
    return f"{pearson}, Spearman ρ = {found.spearman:.2f} (p {_equals(found.spearman_p)}), n = {found.n}"


def _equals(p: float) -> str:
    text = probability(p)
    return text if text.startswith("<") else f"= {text}"
