"""Compare what several selectors read from one supernet: a table, and a figure over the epochs of its search.

After Wang et al. (DARTS-PT, ICLR 2021): the same supernet, read by its mixing weights and by another rule. The figure
shows the three things that are said to go together when a search collapses: the accuracy of the cell that the mixing
weights name falls, the share of skip connections grows, the dominant eigenvalue rises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from nas_lightning.core.genotypes import Genotype
from nas_lightning.reports.curves import MARKER, finish
from nas_lightning.reports.drawing import save_svg
from nas_lightning.runs import layout, tables

_LINE = "#0072B2"
_READINGS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def rows_of(summary: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name and the evaluation of the search's own selection, then of each reading."""
    if summary["evaluation"]:
        yield summary["method"], summary["evaluation"]
    for name, reading in (summary.get("readings") or {}).items():
        if reading["evaluation"]:
            yield name, reading["evaluation"]


def readings_table(summary: Mapping[str, Any]) -> Table | None:
    """Return the table of what the readings found; None where there are none."""
    judged, readings = list(rows_of(summary)), summary.get("readings")
    if not readings:
        return None
    if not judged:  # a search alone
        table = Table("selection", "genotype", title=f"one supernet, {len(readings) + 1} readings")
        for name, reading in ((summary["method"], summary), *readings.items()):
            table.add_row(name, str(Genotype.from_dict(reading["genotype"])))
        return table
    ranked = any(section.get("rank") is not None for _, section in judged)
    table = Table(title=f"one supernet, {len(judged)} readings · seed {summary['seed']}")
    table.add_column("selection")
    for name in ("test accuracy", *(("rank", "regret") if ranked else ("parameters",))):
        table.add_column(name, justify="right")
    for name, section in judged:
        table.add_row(name, _percent(section["test_accuracy"]), *_others(section, ranked))
    first = judged[0][1]
    for words, accuracy in _random(first):
        table.add_row(words, _percent(accuracy))
    return table


def _others(section: Mapping[str, Any], ranked: bool) -> tuple[str, ...]:
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


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} %"


def save_readings(summary: Mapping[str, Any], folder: Path) -> Path | None:
    """Write `plots/readings.svg`: accuracy, share of skip connections and eigenvalue by epoch of the search.

    Args:
        summary: Content of summary.json.
        folder: The run folder, with `trajectory.csv` of an evaluation by a table, `metrics.csv` and `curvature.csv`.

    Returns:
        The figure; None without a trajectory, since other evaluations know the last cell only.
    """
    if not (folder / layout.TRAJECTORY).exists():
        return None
    judged = list(rows_of(summary))
    trajectory = tables.read_frame(folder / layout.TRAJECTORY)
    metrics = tables.read_frame(folder / layout.METRICS)
    metrics = metrics[metrics["phase"] == "search"]
    figure = Figure(figsize=(11.5, 3.8), layout="constrained", facecolor="white")
    title = f"one supernet, {len(judged)} readings: {summary['method']}, space {summary['space']}, {summary['data']}"
    figure.suptitle(f"{title}, seed {summary['seed']}", weight="bold", size=10)
    shares = [name for name in metrics.columns if name.startswith("skip_share/")]
    measured = metrics.dropna(subset=["dominant_eigenvalue"]) if "dominant_eigenvalue" in metrics else metrics[:0]
    panels = 1 + bool(shares) + bool(len(measured))
    accuracy, *others = figure.subplots(1, panels, width_ratios=[1.4, 1, 1][:panels], squeeze=False)[0]
    _accuracies(accuracy, trajectory, judged)
    if shares:
        skips = others.pop(0)
        for column in shares:
            label = column.partition("/")[2]
            skips.plot(metrics["epoch"] + 1, 100 * metrics[column], color=_LINE, linewidth=1.6, label=label)
        finish(skips, "weight of skip connections (%)")
    if len(measured):
        (curvature,) = others
        curvature.plot(measured["epoch"] + 1, measured["dominant_eigenvalue"], "o-", color=_LINE, ms=3.5, label="λ")
        finish(curvature, "dominant eigenvalue")
    for axes in figure.axes:
        axes.set_xlabel("epochs of the search")
        legend = axes.get_legend()
        if legend is not None:
            legend.remove()
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8.5, ncols=3, loc="outside lower center")
    (folder / layout.PLOTS).mkdir(parents=True, exist_ok=True)
    return save_svg(figure, folder / layout.PLOTS / "readings.svg")


def _accuracies(axes: Axes, trajectory: pd.DataFrame, judged: list[tuple[str, Mapping[str, Any]]]) -> None:
    """Draw the accuracy of the cell of each epoch, those of the readings, and the levels of random search."""
    epochs = trajectory["epoch"] + 1
    name = judged[0][0]
    axes.plot(epochs, trajectory["test_accuracy"], "o-", color=_LINE, markersize=3.5, linewidth=1.6, label=name)
    for (label, section), colour in zip(judged[1:], _READINGS * len(judged), strict=False):
        value = section["test_accuracy"]
        axes.plot(epochs.iloc[-1], value, "D", color=colour, markersize=7, label=f"{label}: {value:.2f} %")
    for (words, value), style in zip(_random(judged[0][1]), (":", "--"), strict=False):
        axes.axhline(value, **(MARKER | {"linestyle": style}), label=f"{words}: {value:.2f} %")
    finish(axes, "test accuracy in the table (%)")
