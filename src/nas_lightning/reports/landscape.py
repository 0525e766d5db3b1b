"""Draw landscapes: contours and a surface of values measured over a plane of architecture parameters.

The figure of Chu et al. (NoisyDARTS, 2020). Runs are stacked and share one scale of colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import MaxNLocator

from nas_lightning.reports.drawing import save_svg

# Perceptually uniform, and readable without colour vision.
_COLOURS = "viridis"
_LEVELS = 12  # about so many, at round numbers
_SIZE = (9.6, 4.3)  # inches of a run
_AXES = ("x: distance along the first direction", "y: along the second")


def save_landscape(
    rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str], labels: Mapping[str, str], folder: Path
) -> list[Path]:
    """Write `landscape_NAME.svg` for every measured value: left contours with the centre marked, right the surface.

    Args:
        rows: `run`, `x`, `y` and the values, on one square grid for all runs.
        titles: Title of each run, in the order of the figure.
        labels: Column of each value -> label of its colours.
        folder: Folder of the figures; made if it is missing.

    Returns:
        The figures written.
    """
    frame = pd.DataFrame(rows)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        save_svg(_figure(frame, name, titles, label), folder / f"landscape_{name}.svg")
        for name, label in labels.items()
    ]


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest value, widened a little where they are equal."""
    low, high = float(min(values)), float(max(values))
    return (low, high) if high > low else (low - 1e-3 * max(1.0, abs(low)), high + 1e-3 * max(1.0, abs(high)))


def _figure(frame: pd.DataFrame, name: str, titles: Mapping[str, str], label: str) -> Figure:
    count = len(titles)
    figure = Figure(figsize=(_SIZE[0], _SIZE[1] * count), layout="constrained", facecolor="white")
    levels = MaxNLocator(_LEVELS).tick_values(*limits(frame[name].tolist()))
    panes = figure.subfigures(count, 1, squeeze=False)[:, 0]
    for pane, (run, title) in zip(panes, titles.items(), strict=True):
        table = frame[frame["run"] == run].pivot_table(index="y", columns="x", values=name)
        x, y = table.columns.to_numpy(dtype=float), table.index.to_numpy(dtype=float)
        values = table.to_numpy(dtype=float)
        pane.suptitle(title, size=11, weight="bold", parse_math=False)
        left, right = pane.add_gridspec(1, 2, width_ratios=(1.15, 1))
        flat = pane.add_subplot(left)
        _contours(flat, x, y, values, levels, label)
        surface: Any = pane.add_subplot(right, projection="3d")
        first, second = np.meshgrid(x, y)
        surface.plot_surface(
            first, second, values, cmap=_COLOURS, vmin=levels[0], vmax=levels[-1], rstride=1, cstride=1, linewidth=0.2,
            edgecolor="#FFFFFF40", antialiased=True,
        )  # fmt: skip
        surface.set_zlim(levels[0], levels[-1])
        surface.view_init(elev=30, azim=-60)
        surface.set_xlabel("x", size=9)
        surface.set_ylabel("y", size=9)
        surface.set_zlabel(label, size=9)
        surface.tick_params(labelsize=7.5)
        surface.set_box_aspect((1, 1, 0.8), zoom=0.85)
    return figure


def _contours(axes: Axes, x: Any, y: Any, values: Any, levels: Any, label: str) -> None:
    filled = axes.contourf(x, y, values, levels=levels, cmap=_COLOURS)
    crossed = [level for level in levels if values.min() < level < values.max()]
    if crossed:
        lines = axes.contour(x, y, values, levels=crossed, colors="white", linewidths=0.8)
        edge: list[AbstractPathEffect] = [
            withStroke(linewidth=1.5, foreground="#303030")
        ]  # the colours go up to a light yellow
        for text in axes.clabel(lines, fontsize=7.5, fmt=lambda level: f"{level:g}"):
            text.set_path_effects(edge)
    axes.plot(0, 0, marker="P", markersize=10, color="#D55E00", markeredgecolor="white", linestyle="none")
    axes.set_aspect("equal")
    axes.set_xlabel(_AXES[0], size=9)
    axes.set_ylabel(_AXES[1], size=9)
    axes.tick_params(labelsize=8)
    bar = axes.figure.colorbar(filled, ax=axes, shrink=0.85)
    bar.set_label(label, size=9)
    bar.ax.tick_params(labelsize=8)
