"""Draw the quality of the architecture that a search would have returned after each epoch.

The figure of Wang et al. (DARTS-PT, ICLR 2021) and others on NAS-Bench-201, where a table holds every accuracy;
next to it the regret and the one-shot validation error over epochs of Zela et al. (RobustDARTS, ICLR 2020, Figures 2
and 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas_lightning.reports.curves import MARKER, finish
from nas_lightning.reports.drawing import save_svg

_LINE, _CHOSEN, _VALIDATION = "#0072B2", "#D55E00", "#009E73"


def save_trajectory(
    rows: Sequence[Mapping[str, Any]],
    chosen: float | None,
    best: float,
    name: str,
    folder: Path,
    draws: int = 0,
    random_search: float | None = None,
) -> Path:
    """Write `trajectory.svg`: the derived architecture by epochs of the search, its test accuracy and its regret.

    The second panel also shows the error of the one-shot model on `val`, where it was measured. Attempts, which a
    rollback separates, are not joined by a line.

    Args:
        rows: One an epoch: `epoch` (-1 before the first), `attempt`, `test_accuracy` in percent or None; `val_error` in
            percent, None or absent.
        chosen: Accuracy of the architecture that the search ended with.
        best: The highest accuracy in the table.
        name: Of the run and of the column of the table, for the title.
        folder: Folder of the figure; made if it is missing.
        draws: Number of architectures that random search draws.
        random_search: The test accuracy that it is expected to find, in percent; None is not drawn.

    Returns:
        The figure written.
    """
    frame = pd.DataFrame(rows)
    frame["val_error"] = frame.get("val_error", pd.Series(float("nan"), frame.index))
    frame = frame.astype({"test_accuracy": float, "val_error": float})
    frame["done"] = frame["epoch"] + 1
    frame["regret"] = best - frame["test_accuracy"]
    figure = Figure(figsize=(10.4, 3.8), layout="constrained", facecolor="white")
    figure.suptitle(f"architecture after each epoch of the search ({name})", weight="bold", size=10, parse_math=False)
    accuracy, regret = figure.subplots(1, 2)
    _lines(accuracy, frame, "test_accuracy", "derived architecture", _LINE)
    if chosen is not None:
        last = frame["done"].iloc[-1]
        accuracy.plot(last, chosen, "D", color=_CHOSEN, markersize=6.5, label=f"selected: {chosen:.2f} %")
    _levels(accuracy, best, draws, random_search)
    finish(accuracy, "test accuracy (%)")
    _lines(regret, frame, "regret", "derived architecture", _LINE)
    if chosen is not None:
        regret.plot(last, best - chosen, "D", color=_CHOSEN, markersize=6.5)
    finish(regret, "regret (percentage points)")
    legends = [accuracy]  # the regret has the same colours
    if frame["val_error"].notna().any():
        validation = regret.twinx()
        _lines(validation, frame, "val_error", "validation error of the one-shot model", _VALIDATION)
        validation.set_ylabel("validation error (%)", color=_VALIDATION)
        validation.spines[["top"]].set_visible(False)
        legends.append(validation)
    for axes in (accuracy, regret):
        axes.set_xlabel("epochs of the search")
        axes.get_legend().remove()
    handles = [handle for axes in legends for handle in axes.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, frameon=False, fontsize=8.5, ncols=4, loc="outside lower center")
    folder.mkdir(parents=True, exist_ok=True)
    return save_svg(figure, folder / "trajectory.svg")


def _levels(axes: Axes, best: float, draws: int, random_search: float | None) -> None:
    """Draw level lines at the best of the table and at what random search is expected to find."""
    axes.axhline(best, **MARKER, label=f"best in the table: {best:.2f} %")
    if random_search is not None:
        label = f"random search, best of {draws}: {random_search:.2f} % expected"
        axes.axhline(random_search, **(MARKER | {"linestyle": ":"}), label=label)


def _lines(axes: Axes, frame: pd.DataFrame, column: str, label: str, colour: str) -> None:
    """Draw a line for each attempt, with one entry in the legend."""
    for _, attempt in frame.groupby("attempt"):
        axes.plot(
            attempt["done"],
            attempt[column],
            label=label,
            color=colour,
            marker="o",
            markersize=3.5,
            linewidth=1.6,
        )
        label = "_"
