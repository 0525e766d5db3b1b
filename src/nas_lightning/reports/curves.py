"""Draw the learning curves of one run, from its `metrics.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports.drawing import save_svg
from nas_lightning.runs import tables

PHASES = ("search", "selection", "evaluation")

# Column -> (its name in the legend, colour). One colour means one set of images in both panels.
_LOSSES = {
    "train_loss": ("train", "#0072B2"),
    "arch_loss": ("architecture", "#D55E00"),
    "val_loss": ("validation", "#009E73"),
}
_PARTS = {"train": ("train", "#0072B2"), "val": ("validation", "#009E73"), "test": ("test", "#CC79A7")}
MARKER: dict[str, Any] = {"color": "#7F7F7F", "linestyle": "--", "linewidth": 1}  # of a rollback or a stop
_FEW_EPOCHS = 25  # up to here every epoch gets a dot, so that a run of one epoch is visible


def save_curves(
    metrics_csv: Path, folder: Path, title: str = "", goal: Goal = ACCURACY, phases: Sequence[str] = PHASES
) -> list[Path]:
    """Write `search.svg`, `selection.svg` and `evaluation.svg`: losses on the left, the metric on the right, by epoch.

    Args:
        metrics_csv: Table with the columns `phase`, `epoch` and any of `attempt`, the losses and the
            accuracies (percent), or the metrics. What one row of an epoch leaves empty, another may fill.
        folder: Where the figures go; made if it is missing.
        title: Of the run; the phase follows.
        goal: The metric of the run.
        phases: Phases that are drawn.

    Returns:
        The figures written; a phase without values has none.
    """
    try:
        metrics = tables.read_frame(metrics_csv)
    except (FileNotFoundError, pd.errors.EmptyDataError):  # nothing has been measured yet
        return []
    if not {"phase", "epoch"} <= set(metrics.columns):
        return []
    measured = {goal.key(part): name for part, name in _PARTS.items()}
    paths = []
    for phase in phases:
        rows = metrics[metrics["phase"] == phase].set_index("epoch").sort_index()
        panels = [
            (label, series)
            for label, names in (("loss (nats)", _LOSSES), (goal.axis(goal.name), measured))
            if (series := _series(rows, names))
        ]
        if panels:
            folder.mkdir(parents=True, exist_ok=True)
            paths.append(
                save_svg(_figure(f"{title}: {phase}" if title else phase, rows, panels), folder / f"{phase}.svg")
            )
    return paths


_Series = list[tuple[str, str, "pd.Series[float]"]]


def _series(rows: pd.DataFrame, names: Mapping[str, tuple[str, str]]) -> _Series:
    """Return legend, colour and values of every column that has any value."""
    return [
        (label, colour, values)
        for column, (label, colour) in names.items()
        if column in rows and not (values := rows[column].dropna()).empty
    ]


def _figure(title: str, rows: pd.DataFrame, panels: list[tuple[str, _Series]]) -> Figure:
    figure = Figure(figsize=(4.6 * len(panels), 3.4), layout="constrained", facecolor="white")
    figure.suptitle(title, weight="bold", size=11, parse_math=False)
    for index, (label, series) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        for name, colour, values in series:
            marker = "o" if len(values) <= _FEW_EPOCHS else ""
            axes.plot(values.index, values, label=name, color=colour, marker=marker, markersize=3.5, linewidth=1.6)
        _mark_rollbacks(axes, rows)
        finish(axes, label)
    return figure


def finish(axes: Axes, label: str) -> None:
    """Add labels, grid and legend to axes over epochs, after everything is drawn."""
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)


def _mark_rollbacks(axes: Axes, rows: pd.DataFrame) -> None:
    """Mark rollbacks: the epochs that begin a new attempt."""
    if "attempt" not in rows:
        return
    attempts = rows["attempt"].dropna()
    label = "rolled back"
    for epoch in attempts.index[attempts.diff() > 0]:
        axes.axvline(epoch - 0.5, **MARKER, label=label)
        label = "_"  # one entry in the legend is enough
