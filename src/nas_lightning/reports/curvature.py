"""Draw the dominant eigenvalue over one search, from its `curvature.csv`.

The figure of Zela et al. (RobustDARTS, ICLR 2020): the measurements, their running average, and where the search was
stopped. Left out: comparisons of several runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas_lightning.reports.curves import MARKER, finish
from nas_lightning.reports.drawing import save_svg
from nas_lightning.runs import tables

_MEASURED, _SMOOTHED = "#56B4E9", "#0072B2"
_WINDOW = 5  # measurements, as in the paper


def save_curvature(curvature_csv: Path, folder: Path, title: str = "") -> list[Path]:
    """Write `curvature.svg`: the dominant eigenvalue by epoch, raw and smoothed, and the decisions of a control.

    A thick line shows the averages that a control decided on, each at the epoch of the decision, that is at the end
    of its window. Where the table has none, it is the mean of 5 measurements of one attempt, each at the centre of
    its window, so that the first and last 2 measurements have none. Attempts are not joined by a line.

    Args:
        curvature_csv: Table with the columns `epoch` (it continues after a rollback), `dominant_eigenvalue` and any of
            `search_epoch`, `attempt`, `smoothed`, `event` (empty, or `stopped`, `rolled back`) and `to_epoch` (the
            search epoch that an event goes back to).
        folder: Where the figure goes; made if it is missing.
        title: Of the run.

    Returns:
        The figure written; none where nothing has been measured.
    """
    try:
        rows = tables.read_frame(curvature_csv)
    except (FileNotFoundError, pd.errors.EmptyDataError):  # nothing has been measured yet
        return []
    if not {"epoch", "dominant_eigenvalue"} <= set(rows.columns):
        return []
    missing = [name for name in ("smoothed", "event", "to_epoch") if name not in rows]
    rows = rows.assign(**dict.fromkeys(missing, np.nan)).sort_values("epoch", kind="stable")
    for name in ("dominant_eigenvalue", "smoothed"):  # columns without a value are read as object dtype
        rows[name] = rows[name].astype(float)
    if not np.isfinite(rows["dominant_eigenvalue"]).any():
        return []
    if "search_epoch" not in rows:
        rows["search_epoch"] = rows["epoch"]
    attempts = [rows] if "attempt" not in rows else [same for _, same in rows.groupby("attempt", dropna=False)]
    folder.mkdir(parents=True, exist_ok=True)
    return [
        save_svg(_figure(rows, attempts, f"{title}: curvature" if title else "curvature"), folder / "curvature.svg")
    ]


def _figure(rows: pd.DataFrame, attempts: list[pd.DataFrame], title: str) -> Figure:
    figure = Figure(figsize=(6.8, 3.9), layout="constrained", facecolor="white")
    figure.suptitle(title, weight="bold", size=11, parse_math=False)
    axes = figure.add_subplot()
    measured = [same.set_index("epoch")["dominant_eigenvalue"] for same in attempts]
    _draw(axes, measured, "measured", _MEASURED, 0.8, 3.5)
    if rows["smoothed"].notna().any():
        smoothed, name = [same.set_index("epoch")["smoothed"] for same in attempts], "smoothed"
    else:
        smoothed = [line[np.isfinite(line)].rolling(_WINDOW, center=True).mean() for line in measured]
        name = f"mean of {_WINDOW}"
    _draw(axes, smoothed, name, _SMOOTHED, 2.4, 0)
    _mark_events(axes, rows)
    finish(axes, "dominant eigenvalue")
    return figure


def _draw(axes: Axes, lines: list[pd.Series[float]], name: str, colour: str, width: float, marker_size: float) -> None:
    """Draw one line an attempt, under one entry in the legend."""
    for line in lines:
        values = line[np.isfinite(line)]
        if values.empty:
            continue
        # A line of one point would not be seen.
        size = marker_size or (width if len(values) == 1 else 0)
        marker = "o" if size else ""
        axes.plot(values.index, values, label=name, color=colour, linewidth=width, marker=marker, markersize=size)
        name = "_"


def _mark_events(axes: Axes, rows: pd.DataFrame) -> None:
    """Mark and labels where a control stopped the search or went back.

    After a rollback, search epochs are no longer those of the axis; so the label names the kind it counts.
    """
    for row in rows[rows["event"].notna()].to_dict("records"):
        label = str(row["event"])
        if pd.notna(row["to_epoch"]):
            counted = "epoch" if row["search_epoch"] == row["epoch"] else "search epoch"
            label += f": back to {counted} {row['to_epoch']:.0f}"
        axes.axvline(row["epoch"], **MARKER)
        # Right of the line, where an attempt has ended; past the last epoch, the layout makes room.
        axes.annotate(
            label,
            (row["epoch"], 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            rotation=90,
            va="top",
            size=7.5,
            color="#4D4D4D",
        )
