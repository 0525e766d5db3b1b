"""Draw what a network of disparities sees, knows and predicts: a picture of a few pairs.

Shapes: B pairs, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nas_lightning.reports.style import HEAT
from nas_lightning.runs.files import replacing

Image = NDArray[np.float32]


def draw_disparities(left: Image, truth: Image, predicted: Image) -> Figure:
    """Draw a row for each pair, with left image, true and predicted disparity, and error.

    Both disparities of a row share the colours of the truth; pixels without a truth are white there and in the error.

    Args:
        left: Left images in [0, 1], [B, H, W, 3].
        truth: True disparities in pixels, [B, H, W]; NaN or infinite where they are not known.
        predicted: Predicted ones, likewise.
    """
    rows, height, width = truth.shape
    size = 2.6 * height / width + 0.35  # inches of a row, so that pixels are about square
    figure = Figure(figsize=(11.5, rows * size + 0.3), layout="constrained", facecolor="white")
    grid = figure.subplots(rows, 4, squeeze=False)
    for row in range(rows):
        known = np.ma.masked_invalid(truth[row])
        error = np.ma.abs(predicted[row] - known)
        low, high = float(known.min()), float(known.max())
        names = ("left image", "true disparity, px", "predicted, px", f"error, {float(error.mean()):.2f} px on average")
        shown = [
            grid[row, 0].imshow(np.clip(left[row], 0, 1)),
            grid[row, 1].imshow(known, cmap=HEAT, vmin=low, vmax=high),
            grid[row, 2].imshow(predicted[row], cmap=HEAT, vmin=low, vmax=high),
            grid[row, 3].imshow(error, cmap="magma", vmin=0),
        ]
        for axes, image, name in zip(grid[row], shown, names, strict=True):
            axes.set_title(name, size=8, loc="left")
            axes.set_axis_off()
            if axes is not grid[row, 0]:
                figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02).ax.tick_params(labelsize=6)
    return figure


def save_disparities(left: Image, truth: Image, predicted: Image, folder: Path) -> Path:
    """Write `disparity.png`; arguments as for `draw_disparities`, and the folder, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "disparity.png"
    with replacing(path) as file:
        draw_disparities(left, truth, predicted).savefig(file, format="png", dpi=100, metadata={"Software": None})
    return path
