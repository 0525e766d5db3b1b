"""How good the architecture is that a search would have returned after each of its epochs.

The figure of Wang et al. (DARTS-PT, ICLR 2021) and others on NAS-Bench-201, where a table tells every accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from nas_lightning.reports.curves import MARKER, finish
from nas_lightning.reports.drawing import save_svg

_LINE, _CHOSEN = "#0072B2", "#D55E00"


def save_trajectory(
    rows: Sequence[Mapping[str, Any]], chosen: float | None, best: float, name: str, folder: Path
) -> Path:
    """Writes `trajectory.svg`: test accuracy of the derived architecture by epochs of the search.

    No line goes on from one attempt to the next, where the search went back.

    Args:
        rows: One an epoch: `epoch` (-1 before the first), `attempt`, `test_accuracy` in percent or None.
        chosen: Accuracy of the architecture that the search ended with.
        best: The highest accuracy in the table.
        name: Column of the table, as the title says.
        folder: Where the figure goes; made if it is missing.

    Returns:
        The figure written.
    """
    frame = pd.DataFrame(rows).astype({"test_accuracy": float})
    frame["done"] = frame["epoch"] + 1
    figure = Figure(figsize=(6.2, 3.8), layout="constrained", facecolor="white")
    figure.suptitle(f"architecture after each epoch of the search ({name})", weight="bold", size=10)
    axes = figure.add_subplot()
    label = "derived architecture"
    for _, attempt in frame.groupby("attempt"):
        axes.plot(
            attempt["done"],
            attempt["test_accuracy"],
            label=label,
            color=_LINE,
            marker="o",
            markersize=3.5,
            linewidth=1.6,
        )
        label = "_"
    if chosen is not None:
        axes.plot(frame["done"].iloc[-1], chosen, "D", color=_CHOSEN, markersize=6.5, label=f"selected: {chosen:.2f} %")
    axes.axhline(best, **MARKER, label=f"best in the table: {best:.2f} %")
    finish(axes, "test accuracy (%)")
    axes.set_xlabel("epochs of the search")
    axes.get_legend().remove()  # type: ignore[union-attr]
    figure.legend(frameon=False, fontsize=8.5, ncols=3, loc="outside lower center")
    folder.mkdir(parents=True, exist_ok=True)
    return save_svg(figure, folder / "trajectory.svg")
