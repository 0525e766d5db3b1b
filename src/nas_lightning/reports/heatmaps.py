"""Draw mixing weights over time: a panel an operation, edges from top to bottom, epochs from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nas_lightning.core.choices import Choice
from nas_lightning.core.errors import ConfigError
from nas_lightning.reports.style import HEAT, TITLE, label
from nas_lightning.runs import history

_MISSING = "#E4E4E4"  # an edge that does not offer the operation


def read_mixing(path: Path) -> list[dict[str, Any]]:
    """Read the lines of `genotypes.jsonl` that hold mixing weights: `epoch`, `attempt` and `mixing`, in order."""
    return [line for line in history.read(path) if line.get("mixing")]


def occurring(lines: Sequence[Mapping[str, Any]], choice: Choice) -> tuple[float, float]:
    """Return the smallest and the largest weight of a choice, for a scale that several figures share.

    Args:
        lines: What `read_mixing` returns.
        choice: Names of rows and options.

    Raises:
        ConfigError: The weights do not have the shape of the choice.
    """
    weights = _weights(lines, choice)[:, choice.mask.numpy()]
    return float(weights.min()), float(weights.max())


def draw_mixing_over_time(
    lines: Sequence[Mapping[str, Any]], choice: Choice, title: str, scale: tuple[float, float] | None = None
) -> Figure:
    """Draw the weights of one choice from before the search to its end.

    Args:
        lines: What `read_mixing` returns.
        choice: Names of rows and options.
        title: Of the figure.
        scale: Ends of the colours; None takes the weights that occur, so that small differences early in a search are
            visible.

    Returns:
        The figure; after a rollback, a white line separates the attempts.

    Raises:
        ConfigError: The weights do not have the shape of the choice.
    """
    weights = _weights(lines, choice)
    options = list(dict.fromkeys(option for row in choice.options for option in row))
    columns = len(options) if len(options) <= 4 else 3 if len(options) <= 6 else 4
    rows = -(-len(options) // columns)
    height = rows * (0.15 * choice.num_rows + 0.55) + 0.9
    figure = Figure(figsize=(9.6 if columns > 2 else 7.2, max(height, 2.4)), layout="constrained", facecolor="white")
    figure.suptitle(label(title, TITLE), weight="bold", size=10)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    epochs = [int(line["epoch"]) + 1 for line in lines]
    attempts = [line.get("attempt", 0) for line in lines]
    bottom, top = occurring(lines, choice) if scale is None else scale
    image = None
    for axes, option in zip(grid.flat, options, strict=False):
        values = np.full((choice.num_rows, len(lines)), np.nan)
        for row, names in enumerate(choice.options):
            if option in names:
                values[row] = weights[:, row, names.index(option)]
        axes.set_facecolor(_MISSING)
        image = axes.imshow(values, aspect="auto", cmap=HEAT, vmin=bottom, vmax=top, interpolation="nearest")
        for index in range(1, len(lines)):
            if attempts[index] != attempts[index - 1]:
                axes.axvline(index - 0.5, color="white", linewidth=1.5)
        axes.set_title(label(option), size=8.5, loc="left")
        steps = range(0, len(lines), max(1, -(-len(lines) // 8)))
        axes.set_xticks(list(steps), [str(epochs[step]) for step in steps], size=7)
        edges = [f"{source} → {node}" for source, node in zip(choice.sources, choice.nodes, strict=True)]
        axes.set_yticks(range(choice.num_rows), edges, size=6.5)
        axes.xaxis.set_tick_params(labelbottom=True)
    for spare in list(grid.flat)[len(options) :]:
        spare.set_axis_off()
    figure.supxlabel("epochs of the search", size=9)
    figure.supylabel("edge", size=9)
    assert image is not None
    figure.colorbar(image, ax=list(grid.flat), label="mixing weight", shrink=0.8, pad=0.01)
    return figure


def _weights(lines: Sequence[Mapping[str, Any]], choice: Choice) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the weights of a choice, [epochs, rows, options]."""
    shape = (choice.num_rows, choice.num_options)
    tables = [np.array(line["mixing"][choice.name], dtype=float) for line in lines]
    if any(table.shape != shape for table in tables):
        raise ConfigError(f"mixing weights of {choice.name} are not {shape[0]} rows of {shape[1]} options")
    return np.stack(tables)
