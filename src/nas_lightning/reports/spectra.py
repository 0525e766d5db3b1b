"""Draw the spectra of the Hessian at the end of searches (RobustDARTS, ICLR 2020, figures 13 and 14)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas_lightning.reports.groups import count_text
from nas_lightning.reports.style import CONTEXT, TITLE, Style, label, panels, tidy, title_panels

LARGEST = 30
"""Eigenvalues of a run that a report shows, as published."""
MAX_METHODS = 24
"""Panels of a figure; further methods, in alphabetical order, are left out."""


def draw_spectra(rows: pd.DataFrame, style: Style, title: str, largest: int | None = LARGEST) -> Figure:
    """Draw eigenvalues by their rank in absolute value, a panel a method, a row of dots a run.

    Args:
        rows: At least one: `run`, `method`, `eigenvalue`.
        style: Colours of the methods.
        title: Of the figure.
        largest: How many of a run, the largest by absolute value; None is all.
    """
    methods = sorted(rows["method"].unique())[:MAX_METHODS]
    figure, axes = panels(len(methods), 4 if len(methods) > 4 else 2, 9.6, 2.5, shared=True)
    figure.suptitle(label(title, TITLE), weight="bold", size=10)
    counts = []
    for panel, method in zip(axes, methods, strict=True):
        same = rows[rows["method"] == method]
        runs = same.groupby("run", sort=True)["eigenvalue"]
        counts.append(count_text(same))
        panel.axhline(0, color=CONTEXT, linewidth=1, zorder=1)
        for _, values in runs:
            ranked = values.iloc[values.abs().argsort(kind="stable")[::-1]].head(largest or len(values))
            ranks = range(1, len(ranked) + 1)
            panel.plot(ranks, ranked, "o", color=style.colour(method), markersize=2.8, alpha=0.6, zorder=2)
        tidy(panel)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        panel.xaxis.set_tick_params(labelbottom=True)
    title_panels(axes, [f"{method} ({count})" for method, count in zip(methods, counts, strict=True)])
    for panel in axes[-4 if len(methods) > 4 else -2 :]:  # the last of each column
        panel.set_xlabel("rank by absolute value", size=9)
    figure.supylabel("eigenvalue", size=9)
    return figure
