"""Render one picture of each kind: every run of seconds draws four, which take longer than its training.

The figures themselves are all made; what is left out is what Matplotlib makes of them. A kind is what could make it
fail: marks in the texts, which may be mathematics, scales and lines of the axes, values that are no numbers.
"""

import re
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas_lightning.reports import curvature, curves, drawing
from nas_lightning.runs.files import write_text

OF_EVERY_RUN = re.compile(r"plots/(search|selection|evaluation|curvature|module|cell_\w+)\.svg$")
SKETCH = "<svg>a picture of this kind has been rendered before; see tests/sketched.py</svg>"


class Sketching:
    """Whether pictures of a kind that has been rendered in this process are sketched."""

    on = False


def sketch_pictures() -> None:
    """Change how the pictures of runs are saved, in this process."""
    render: Callable[[Figure, Path], Path] = drawing.save_svg
    kinds: set[Hashable] = set()

    def save_svg(figure: Figure, path: Path) -> Path:
        kind = (re.sub(r"\w+", "w", path.stem), tuple(map(_kind, figure.axes)), _marks([figure.get_suptitle()]))
        if not Sketching.on or not OF_EVERY_RUN.search(path.as_posix()) or kind not in kinds:
            kinds.add(kind)
            return render(figure, path)
        write_text(path, SKETCH)
        return path

    for module in (drawing, curves, curvature):
        module.save_svg = save_svg


def _kind(axes: Axes) -> Hashable:
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    shapes = frozenset((len(y) > 1, bool(np.isfinite(y).all()), len(set(y.tolist())) > 1) for y in lines)
    texts = [axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
    legend = axes.get_legend()
    texts += [text.get_text() for text in legend.get_texts()] if legend else []
    return axes.get_xscale(), axes.get_yscale(), shapes, _marks(texts)


def _marks(texts: list[str]) -> frozenset[str]:
    return frozenset(re.sub(r"\w+", "w", text) for text in texts)
