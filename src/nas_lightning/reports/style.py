"""The style of a report's figures: colours, labels, panels, files.

Colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish; markers distinguish methods
beyond the eighth. Heat maps use cividis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas_lightning.reports.drawing import save_svg
from nas_lightning.runs.files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
MARKERS = "osD^vP*X"
HEAT = "cividis"
CONTEXT = "#C8C8C8"
INK = "#222222"
TITLE = 90
"""Maximum number of characters of a title."""
LONGEST = 72
"""Maximum number of characters of a method with its variant in a legend."""


class Style:
    """Assign each method one colour and marker for all figures.

    Args:
        methods: Their names; colours follow their alphabetical order.
    """

    def __init__(self, methods: Iterable[str]) -> None:
        self._index = {method: index for index, method in enumerate(sorted(set(methods)))}

    def colour(self, method: str) -> str:
        """Return the colour of a method's lines and points."""
        return COLOURS[self._index[method] % len(COLOURS)]

    def marker(self, method: str) -> str:
        """Return the marker of a method's points; with the colour it is unique among up to 64 methods."""
        index = self._index[method]
        # Shifted by one in each round of colours, so that no pair of colour and marker repeats early.
        return MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def label(text: object, longest: int = 34) -> str:
    """Make text of a run folder safe to print with matplotlib: no formula, printable, not too long."""
    plain = "".join(character if character.isprintable() else "?" for character in " ".join(str(text).split()))
    plain = plain if len(plain) <= longest else plain[: longest - 1] + "…"
    return plain.replace("$", r"\$")


def legend_columns(names: Sequence[str]) -> int:
    """Return the number of columns of a legend under a figure of half a page: one where a name is long."""
    return 1 if max(map(len, names), default=0) > 30 else 2


def panels(count: int, columns: int, width: float, height: float, shared: bool = False) -> tuple[Figure, list[Axes]]:
    """Make axes in a grid as wide as a page.

    Args:
        count: Number of panels.
        columns: Maximum number in a row.
        width: Of all, in inches.
        height: Of one row, in inches.
        shared: Whether they share one scale.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width if columns > 1 else min(width, 6.4), rows * height + 0.5), layout="constrained")
    figure.set_facecolor("white")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def tidy(axes: Axes) -> None:
    """Draw a light grid behind the data, and no box around it."""
    axes.grid(color="#E5E5E5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def title_panels(axes: Sequence[Axes], titles: Sequence[str]) -> None:
    """Set a title above each panel, on the left."""
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(label(title, TITLE // 2), size=9, loc="left")


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write `<name>.svg` and `<name>.png` (150 dots an inch)."""
    folder.mkdir(parents=True, exist_ok=True)
    svg = save_svg(figure, folder / f"{name}.svg")
    png = folder / f"{name}.png"
    figure.set_layout_engine("none")  # the SVG has fixed the layout, which takes longer than the drawing
    with replacing(png) as file:
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return svg, png
