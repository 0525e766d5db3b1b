"""Compare what a run has found in several ways: a table, and a figure over the epochs of its searches.

After Wang et al. (DARTS-PT, ICLR 2021): the same supernet, read by its mixing weights and by another rule; beside it
the searches of further methods. The figure shows the three things that are said to go together when a search collapses:
the accuracy of the cell that the mixing weights name falls, the share of skip connections grows, the dominant
eigenvalue rises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports.curves import MARKER, finish
from nas_lightning.reports.drawing import save_svg
from nas_lightning.runs import layout, tables

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def _others(summary: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what readings and further methods found, by their names."""
    return {**(summary.get("readings") or {}), **(summary.get("methods") or {})}


def rows_of(summary: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name and the evaluation of the search's own selection, then of each reading and further method."""
    for name, found in ((summary["method"], summary), *_others(summary).items()):
        if found["evaluation"]:
            yield name, found["evaluation"]


def _counted(summary: Mapping[str, Any]) -> str:
    """Return how many searches and selections are compared."""
    cells, searches = 1 + len(_others(summary)), 1 + len(summary.get("methods") or {})
    return f"one supernet, {cells} readings" if searches == 1 else f"{searches} searches, {cells} selections"


def readings_table(summary: Mapping[str, Any]) -> Table | None:
    """Return the table of what readings and further methods found; None where there are none."""
    judged, others = list(rows_of(summary)), _others(summary)
    if not others:
        return None
    if not summary["evaluation"]:  # a search alone
        table = Table("selection", "genotype", title=_counted(summary))
        for name, found in ((summary["method"], summary), *others.items()):
            table.add_row(name, str(Genotype.from_dict(found["genotype"])))
        return table
    goal = Goal.of(summary)
    ranked = any(section.get("rank") is not None for _, section in judged)
    table = Table(title=f"{_counted(summary)} · seed {summary['seed']}")
    table.add_column("selection")
    for name in (f"test {goal.name}", *(("rank", "regret") if ranked else ("parameters",))):
        table.add_column(name, justify="right")
    for name, section in judged:
        table.add_row(name, _shown(goal, goal.value(section, "test")), *_beside(section, ranked))
    first = judged[0][1]
    for words, accuracy in _random(first):
        table.add_row(words, _shown(ACCURACY, accuracy))
    return table


def _beside(section: Mapping[str, Any], ranked: bool) -> tuple[str, ...]:
    if not ranked:
        return (f"{section['params'] / 1e6:.3f} M",)
    if section.get("rank") is None:  # a partial table lacks it
        return "not in the table", "–"
    return f"{section['rank']:,} of {section['rank_of']:,}", f"{section['regret']:.2f}"


def _random(section: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the exact expectations of drawing cells at random, where a table knows them."""
    if section.get("random_accuracy") is not None:
        yield "one cell at random", section["random_accuracy"]
    if section.get("random_search_accuracy") is not None:
        yield f"best of {section['random_search_draws']} at random", section["random_search_accuracy"]


def _shown(goal: Goal, value: float | None) -> str:
    return "–" if value is None else goal.shown(value)


@dataclass(frozen=True)
class _Search:
    """One search that is drawn: its name, colour, and the frames of its tables."""

    name: str
    colour: str
    trajectory: pd.DataFrame
    metrics: pd.DataFrame


def save_readings(summary: Mapping[str, Any], folder: Path) -> Path | None:
    """Write `plots/readings.svg`: accuracy, share of skip connections and eigenvalue by epoch of each search.

    Args:
        summary: Content of summary.json.
        folder: The run folder, with `trajectory.csv` of an evaluation by a table, `metrics.csv` and `curvature.csv`;
            those of a further method are in its own folder there.

    Returns:
        The figure; None without a trajectory, since other evaluations know the last cell only.
    """
    if not (folder / layout.TRAJECTORY).exists():
        return None
    judged = dict(rows_of(summary))
    colours = dict(zip(judged, _COLOURS * len(judged), strict=False))
    methods = summary.get("methods") or {}
    places = {summary["method"]: folder} | {name: folder / layout.METHODS / name for name in methods}
    searches = [_read(name, colours[name], place) for name, place in places.items() if name in judged]
    figure = Figure(figsize=(11.5, 3.8), layout="constrained", facecolor="white")
    title = f"{_counted(summary)}: {summary['method']}, space {summary['space']}, {summary['data']}"
    figure.suptitle(f"{title}, seed {summary['seed']}", weight="bold", size=10)
    curves = {
        "weight of skip connections (%)": [curve for search in searches for curve in _shares(search)],
        "dominant eigenvalue": [curve for search in searches for curve in _eigenvalues(search)],
    }
    drawn = {label: lines for label, lines in curves.items() if lines}
    accuracy, *others = figure.subplots(1, 1 + len(drawn), width_ratios=[1.4, 1, 1][: 1 + len(drawn)], squeeze=False)[0]
    _accuracies(accuracy, searches, judged, colours)
    for axes, (label, lines) in zip(others, drawn.items(), strict=True):
        for search, epochs, values, marks in lines:
            axes.plot(epochs, values, marks, color=search.colour, linewidth=1.6, markersize=3.5, label=search.name)
        finish(axes, label)
    for axes in figure.axes:
        axes.set_xlabel("epochs of the search")
        legend = axes.get_legend()
        if legend is not None:
            legend.remove()
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8.5, ncols=3, loc="outside lower center")
    (folder / layout.PLOTS).mkdir(parents=True, exist_ok=True)
    return save_svg(figure, folder / layout.PLOTS / "readings.svg")


def _read(name: str, colour: str, folder: Path) -> _Search:
    """Read the tables of a search; a method that keeps no cell of each epoch has an empty trajectory."""
    path = folder / layout.TRAJECTORY
    metrics = tables.read_frame(folder / layout.METRICS)
    trajectory = tables.read_frame(path) if path.exists() else pd.DataFrame({"epoch": [], "test_accuracy": []})
    return _Search(name, colour, trajectory, metrics[metrics["phase"] == "search"])


_Curve = tuple[_Search, "pd.Series[Any]", "pd.Series[Any]", str]
"""A search, its epochs, values and the marks of the line."""


def _shares(search: _Search) -> Iterator[_Curve]:
    for column in search.metrics.columns:
        if column.startswith("skip_share/"):
            yield search, search.metrics["epoch"] + 1, 100 * search.metrics[column], "-"


def _eigenvalues(search: _Search) -> Iterator[_Curve]:
    measured = search.metrics
    measured = measured.dropna(subset=["dominant_eigenvalue"]) if "dominant_eigenvalue" in measured else measured[:0]
    if len(measured):
        yield search, measured["epoch"] + 1, measured["dominant_eigenvalue"], "o-"


def _accuracies(
    axes: Axes, searches: Sequence[_Search], judged: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str]
) -> None:
    """Draw the accuracy of the cell of each epoch, those of the readings, and the levels of random search."""
    by_name = {search.name: search.trajectory for search in searches}
    for name, section in judged.items():
        value, path = section["test_accuracy"], by_name.get(name)
        label = f"{name}: {value:.2f} %"
        if path is not None and len(path):
            epochs, values = path["epoch"] + 1, path["test_accuracy"]
            axes.plot(epochs, values, "o-", color=colours[name], markersize=3.5, linewidth=1.6, label=label)
        else:
            axes.plot(searches[0].trajectory["epoch"].iloc[-1] + 1, value, "D", color=colours[name], ms=7, label=label)
    for (words, value), style in zip(_random(next(iter(judged.values()))), (":", "--"), strict=False):
        axes.axhline(value, **(MARKER | {"linestyle": style}), label=f"{words}: {value:.2f} %")
    finish(axes, "test accuracy in the table (%)")
