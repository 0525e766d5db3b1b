"""Draw mixing weights as a heat map: an edge a row, an operation a column."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from nas_lightning.core.choices import Choice


def draw_mixing(weights: Tensor, choice: Choice) -> Figure:
    """Draw the weights of one choice.

    Args:
        weights: [R, O], on the CPU.
        choice: Names of rows and options.

    Returns:
        A figure that belongs to no window. Options that a row lacks stay blank; where rows differ in their
        options, each cell names its own.
    """
    values = np.ma.masked_array(weights.numpy(), ~choice.mask.numpy())
    shared = len(set(choice.options)) == 1
    rows, columns = values.shape
    width = (0.9 if shared else 1.3) * columns
    figure = Figure(figsize=(2.2 + width, 1.2 + 0.3 * rows), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    image = axes.imshow(values, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axes.set_title(choice.name, size=11, weight="bold", loc="left")
    axes.set_yticks(
        range(rows), [f"{source} → {node}" for source, node in zip(choice.sources, choice.nodes, strict=True)], size=8
    )
    axes.set_ylabel("edge")
    names = choice.options[0] if shared else [""] * columns
    axes.set_xticks(range(columns), names, rotation=35, ha="right", size=8)
    for row, options in enumerate(choice.options):
        for column, option in enumerate(options):
            weight = float(values[row, column])
            text = f"{weight:.2f}" if shared else f"{option}\n{weight:.2f}"
            axes.text(column, row, text, ha="center", va="center", size=6, color="white" if weight > 0.6 else "#222222")
    figure.colorbar(image, label="weight")
    return figure
