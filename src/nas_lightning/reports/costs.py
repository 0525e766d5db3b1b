"""Tabulate and draw the cost of runs: mean seconds of search, curvature, selection and evaluation by method."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from nas_lightning.reports.records import SETTING, settings
from nas_lightning.reports.sheets import Sheet, number
from nas_lightning.reports.style import label, panels, tidy, title_panels

PARTS = {
    "search_seconds": ("search", "#0072B2"),
    "curvature_seconds": ("curvature", "#E69F00"),
    "selection_seconds": ("selection", "#009E73"),
    "evaluation_seconds": ("evaluation", "#CC79A7"),
}
"""Column of the frame -> its name and colour. The parts are disjoint: no second counts twice."""
MAX_PANELS = 4
MAX_METHODS = 30
_UNITS = ((3 * 3600.0, 3600.0, "hours"), (300.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def costs(frame: pd.DataFrame) -> Sheet | None:
    """Tabulate mean seconds of each part by method and setting, over the runs that did it; None without any."""
    frame = _with_costs(frame)
    if frame.empty:
        return None
    lines = []
    for (space, data), rows in frame.groupby([*SETTING], sort=True, dropna=False):
        means = rows.groupby("method")[list(PARTS)].mean()
        counts = rows.groupby("method").size()
        for method in means.index:
            values = [number(value, 1) for value in means.loc[method]]
            names = [str(method), str(space), str(data), str(counts[method])]
            lines.append([*names, *values, number(means.loc[method].sum(), 1)])
    header = ["method", "space", "data", "runs", *(f"{name} s" for name, _ in PARTS.values()), "sum s"]
    note = (
        "Mean wall-clock seconds over the runs that did the part. The search's do not include those of measuring the"
        " curvature. With candidates, search counts all of them and selection their brief retraining."
    )
    return Sheet("costs", "Cost", header, lines, ("method", "space", "data"), note, ("method", "sum s"))


def draw_costs(frame: pd.DataFrame) -> Figure | None:
    """Draw stacked bars, a panel a setting; None where no run has recorded its cost."""
    parts = settings(_with_costs(frame), SETTING, MAX_PANELS)
    if not parts:
        return None
    tables = [rows.groupby("method")[list(PARTS)].mean().fillna(0.0) for _, rows in parts]
    tables = [table.loc[table.sum(axis=1).nlargest(MAX_METHODS).index[::-1]] for table in tables]
    longest = max(map(len, tables))
    figure, axes = panels(len(parts), 2, 9.6, 0.26 * longest + 0.9)
    figure.suptitle("mean cost of a run", weight="bold", size=10)
    for panel, table in zip(axes, tables, strict=True):
        _, divisor, unit = next(entry for entry in _UNITS if table.sum(axis=1).max() >= entry[0])
        left = pd.Series(0.0, index=table.index)
        for column, (name, colour) in PARTS.items():
            panel.barh(
                range(len(table)), table[column] / divisor, left=left / divisor, color=colour, label=name, height=0.72
            )
            left += table[column]
        panel.set_yticks(range(len(table)), [label(method) for method in table.index], size=8)
        panel.set_ylim(-0.6, longest - 0.4)
        panel.set_xlabel(unit, size=9)
        tidy(panel)
        panel.grid(axis="y", visible=False)
    title_panels(axes, [title for title, _ in parts])
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=8.5, ncols=len(PARTS), loc="outside lower center")
    return figure


def _with_costs(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame[list(PARTS)].notna().any(axis=1)]
