"""Figures of the analyses, from the rows of their tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports.drawing import save_svg
from nas_lightning.reports.spectra import draw_spectra
from nas_lightning.reports.style import Style, label

Rows = Sequence[Mapping[str, Any]]

_GRID, _INK = "#E5E5E5", "#222222"
# The option with the largest weight, or the best value, is dark, the others are light.
_WEIGHT, _VALUE = ("#0072B2", "#A6CDE4"), ("#D55E00", "#F2C5A5")
_OTHER = "#D0D0D0"
_CONDITIONS = ("#0072B2", "#D55E00", "#E69F00")  # the unchanged network, then the swaps
_MARKERS = "osD^vP*X"
_MANY = 4  # rows of a choice; more are drawn in two columns
_MANY_RUNS = 60
_LONG = 30  # characters of a label that fill the width of a panel
_MARGIN = 0.3  # left of the smallest value and right of the largest, as a share of their range


def save_strength(rows: Rows, folder: Path, goal: Goal = ACCURACY) -> Path:
    """Write `strength.svg`: for each row, mixing weights of its options and accuracies with the row fixed to each.

    In each panel the bar of the largest weight or the best value is dark. Accuracies share an axis that does not
    start at 0.

    Args:
        rows: `choice`, `row`, `source`, `node`, `option`, `weight`, `accuracy` or `metric`, and `selectable`: whether
            a genotype may hold the option; bars of options that it may not are grey.
        folder: Folder of the figure; created if missing.
        goal: Metric of the values.
    """
    frame = pd.DataFrame(rows)
    edges = [same for _, same in frame.groupby(["choice", "row"], sort=False)]
    columns = 1 if len(edges) <= _MANY else 2
    lines = -(-len(edges) // columns)
    longest = max(map(len, edges))
    height = lines * (0.2 * longest + 0.42) + 0.9
    figure = Figure(figsize=(6.6 * columns, height), layout="constrained", facecolor="white")
    best = "largest" if goal.direction == "max" else "best"
    figure.suptitle(f"mixing weight and strength of the operations (dark: the {best})", weight="bold", size=11)
    grid = figure.add_gridspec(lines, 2 * columns)
    low, high = float(frame[goal.word].min()), float(frame[goal.word].max())
    span = (high - low) or (1.0 if goal.unit == "%" else abs(high) or 1.0)
    limits = low - _MARGIN * span, high + _MARGIN * span
    heaviest = float(frame["weight"].max())
    for index, edge in enumerate(edges):
        line, column = index % lines, 2 * (index // lines)
        last = line == lines - 1 or index == len(edges) - 1
        first = edge.iloc[0]
        left = figure.add_subplot(grid[line, column])
        _bars(left, edge, "weight", _WEIGHT, (0.0, 1.25 * heaviest), 1, "{:.3f}".format)
        left.set_yticks(range(len(edge)), edge["option"], size=8)
        left.set_title(f"{first['choice']} cell, {first['source']} → {first['node']}", size=9, loc="left")
        right = figure.add_subplot(grid[line, column + 1])
        _bars(right, edge, goal.word, _VALUE, limits, goal.sign, goal.number)
        right.set_yticks([])
        if last:
            left.set_xlabel("mean mixing weight", size=8.5)
            measured = goal.axis(f"{goal.name} on val")
            separator = " " if len(measured) < _LONG else "\n"
            right.set_xlabel(f"{measured},{separator}axis not from 0", size=8.5)
        else:
            left.set_xticklabels([])
            right.set_xticklabels([])
    return _save(figure, folder, "strength")


def _bars(
    axes: Axes,
    edge: pd.DataFrame,
    name: str,
    colours: tuple[str, str],
    limits: tuple[float, float],
    sign: int,
    text: Callable[[float], str],
) -> None:
    """Draw one bar per option, the first on top, its value at the end; dark is the largest value times `sign`."""
    values = edge[name].astype(float).tolist()
    selectable = edge["selectable"].tolist()
    counted = [value for value, counts in zip(values, selectable, strict=True) if counts]
    best = max(counted, key=lambda value: sign * value, default=None)
    shades = [
        _OTHER if not counts else colours[0] if value == best else colours[1]
        for value, counts in zip(values, selectable, strict=True)
    ]
    axes.barh(range(len(values)), [value - limits[0] for value in values], left=limits[0], color=shades, height=0.72)
    for index, value in enumerate(values):
        axes.annotate(text(value), (value, index), xytext=(3, 0), textcoords="offset points", va="center", size=7.5)
    axes.set_xlim(limits)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    _plain(axes, "x")


def save_shuffling(rows: Rows, folder: Path, goal: Goal = ACCURACY) -> Path:
    """Write `shuffling.svg`: test accuracy, or other metric, of each network, unchanged and with parts swapped.

    Bars are means, error bars ± one standard deviation, dots the repetitions.

    Args:
        rows: `network`, `swapped` (the parts), `test_accuracy` or `test_metric`; `nothing` comes first in each network.
        folder: Folder of the figure; created if missing.
        goal: Metric of the values.
    """
    key = goal.key("test")
    frame = pd.DataFrame(rows).astype({key: float})
    groups: list[tuple[str, str, list[float]]] = [
        (str(network), str(what), same[key].tolist())
        for (network, what), same in frame.groupby(["network", "swapped"], sort=False)
    ]
    figure = Figure(figsize=(1.4 + 1.3 * len(groups), 3.9), layout="constrained", facecolor="white")
    figure.suptitle("parts swapped at random, without training", weight="bold", size=11)
    axes = figure.add_subplot()
    places: list[float] = []
    colours: list[str] = []
    previous, condition = None, 0
    for network, _, _ in groups:  # a gap separates the networks
        places.append((places[-1] + (1.0 if network == previous else 1.5)) if places else 0.0)
        condition = condition + 1 if network == previous else 0
        colours.append(_CONDITIONS[condition % len(_CONDITIONS)])
        previous = network
    for x, colour, (_, _, values) in zip(places, colours, groups, strict=True):
        average = mean(values)
        std = stdev(values) if len(values) > 1 else 0.0
        axes.bar(x, average, width=0.8, color=colour, alpha=0.85)
        if len(values) > 1:
            axes.errorbar(x, average, std, color=_INK, capsize=5, linewidth=1.4)
            spread = [x + 0.5 * (index / (len(values) - 1) - 0.5) for index in range(len(values))]
            axes.plot(spread, values, "o", color="white", markeredgecolor=_INK, markersize=3, markeredgewidth=0.7)
        note = goal.mean_and_std(average, std if len(values) > 1 else None, 1)
        top = max(average + std, *values)
        axes.annotate(note, (x, top), xytext=(0, 5), textcoords="offset points", ha="center", size=8.5)
    labels = [f"{network}\n{'as it is' if what == 'nothing' else what}" for network, what, _ in groups]
    axes.set_xticks(places, labels, size=8.5)
    axes.set_ylabel(goal.axis(f"test {goal.name}"))
    if goal.unit == "%":
        axes.set_ylim(0, 108)
        axes.set_yticks(range(0, 101, 20))
    else:
        axes.margins(y=0.12)  # for the numbers above the bars
    axes.tick_params(axis="x", length=0)
    _plain(axes, "y")
    return _save(figure, folder, "shuffling")


def save_skip_gap(rows: Rows, folder: Path, goal: Goal = ACCURACY) -> Path:
    """Write `skip_gap.svg`: the skip gap against the accuracy, or other metric, of the supernet.

    A point is an epoch: its colour shows the epoch, its marker the run.

    Args:
        rows: `run`, `epoch`, `skip_gap`, `val_accuracy` or `val_metric`.
        folder: Folder of the figure; created if missing.
        goal: Metric of the values.
    """
    frame = pd.DataFrame(rows)
    figure = Figure(figsize=(6.4, 4.0), layout="constrained", facecolor="white")
    figure.suptitle("skip connections against convolutions, epoch by epoch", weight="bold", size=11)
    axes = figure.add_subplot()
    runs = list(frame.groupby("run", sort=False))
    first, last = int(frame["epoch"].min()) + 1, int(frame["epoch"].max()) + 1
    points = None
    for index, (run, same) in enumerate(runs):
        points = axes.scatter(
            same[goal.key("val")].astype(float),
            same["skip_gap"].astype(float),
            c=same["epoch"] + 1,
            cmap="viridis",
            vmin=first,
            vmax=max(last, first + 1),
            s=34,
            marker=_MARKERS[index % len(_MARKERS)],
            edgecolors=_INK,
            linewidths=0.5,
            label=str(run),
        )
    axes.axhline(0, color="#7F7F7F", linestyle="--", linewidth=1)
    axes.set_xlabel(goal.axis(f"{goal.name} of the supernet on val"))
    axes.set_ylabel("weight of skip_connect\n− mean weight of convolutions")
    axes.margins(0.06)
    _plain(axes, "both")
    assert points is not None  # the table has rows
    bar = figure.colorbar(points, ax=axes, label="epochs of the search")
    bar.locator = MaxNLocator(integer=True)
    bar.update_ticks()
    if 1 < len(runs) <= len(_MARKERS):
        figure.legend(frameon=False, fontsize=8, ncols=2, loc="outside lower center")
    return _save(figure, folder, "skip_gap")


def save_spectrum(rows: Rows, folder: Path) -> Path:
    """Write `spectrum.svg`: all eigenvalues of every run by their rank, one panel per method.

    Args:
        rows: `run`, `method`, `eigenvalue`.
        folder: Folder of the figure; created if missing.
    """
    frame = pd.DataFrame(rows)
    figure = draw_spectra(frame, Style(frame["method"]), "spectrum of the Hessian in the architecture parameters", None)
    return _save(figure, folder, "spectrum")


def save_discretization(rows: Rows, folder: Path, goal: Goal = ACCURACY) -> Path:
    """Write `discretization.svg`: accuracy, or other metric, of supernets before and after, the largest drops on top.

    Args:
        rows: `method`, `space`, `data`, `seed`, `val_accuracy`, `discrete_accuracy` (or `…_metric`) and `drop`,
            `dominant_eigenvalue` or None; the figure shows the 60 largest drops.
        folder: Folder of the figure; created if missing.
        goal: Metric of the values.
    """
    frame = pd.DataFrame(rows).sort_values("drop", ascending=False, kind="stable").head(_MANY_RUNS)
    figure = Figure(figsize=(7.6, 1.4 + 0.26 * len(frame)), layout="constrained", facecolor="white")
    figure.suptitle("supernet with the mixing weights of its genotype, without retraining", weight="bold", size=11)
    axes = figure.add_subplot()
    places = range(len(frame))
    mixed, discrete = frame[goal.key("val")], frame[goal.key("discrete")]
    axes.hlines(places, discrete, mixed, color=_OTHER, linewidth=2.5, zorder=1)
    axes.plot(mixed, places, "o", color=_CONDITIONS[0], label="supernet")
    axes.plot(discrete, places, "D", color=_CONDITIONS[1], label="discretised")
    names = [
        label(f"{row['method']}, {row['space']}, {row['data']}, seed {row['seed']}", 60)
        + ("" if pd.isna(row["dominant_eigenvalue"]) else f" (λ = {row['dominant_eigenvalue']:.3g})")
        for row in frame.to_dict("records")
    ]
    axes.set_yticks(places, names, size=8)
    axes.invert_yaxis()
    axes.set_xlabel(goal.axis(f"{goal.name} on val"))
    axes.tick_params(axis="y", length=0)
    _plain(axes, "x")
    figure.legend(frameon=False, fontsize=8.5, ncols=2, loc="outside lower center")
    return _save(figure, folder, "discretization")


def _plain(axes: Axes, grid: str) -> None:
    """Draw the grid behind the data, and no frame above and on the right."""
    axes.grid(axis=grid, color=_GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return save_svg(figure, folder / f"{name}.svg")
