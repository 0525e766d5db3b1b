"""Draw regret and curvature over the epochs of a search, method by method in one figure.

The figure of Chen & Hsieh, SmoothDARTS (ICML 2020), on NAS-Bench-1Shot1: the regret of the architecture that each epoch
would return as solid lines, mean ± standard error over the runs, and the dominant eigenvalue as dashed lines on an axis
of its own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nas_lightning.reports.groups import count_text
from nas_lightning.reports.style import INK, LONGEST, TITLE, Style, label, legend_columns, tidy
from nas_lightning.reports.trends import LOG_RANGE, mean_over_runs

MAX_NAMES = 8
"""Methods of a figure, those with the least regret at the end."""


def mean_and_error(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return mean and standard error at the epochs at which all runs of a method were measured.

    Args:
        rows: Of one method: `run`, `epoch` and the column.
        column: The column to average.

    Returns:
        `mean` and `error` (the standard deviation of a sample over √n; nan for one run) by epoch.
    """
    table = mean_over_runs(rows, column)
    return pd.DataFrame({"mean": table["mean"], "error": table["std"] / rows["run"].nunique() ** 0.5})


def draw_trajectories(regret: pd.DataFrame, curvature: pd.DataFrame, style: Style, title: str) -> Figure | None:
    """Draw the figure.

    Args:
        regret: Of one setting: `run`, `method`, `epoch` and `regret` in points of accuracy; of several rows of an
            epoch, which a rollback leaves, the last counts.
        curvature: Of the same setting, likewise with `dominant_eigenvalue`.
        style: Colours of the methods.
        title: Of the setting.

    Returns:
        None where no run has both by epoch.
    """
    parts = [
        (rows[np.isfinite(rows[column])].drop_duplicates(["run", "epoch"], keep="last"), column)
        for rows, column in ((regret, "regret"), (curvature, "dominant_eigenvalue"))
    ]
    both = set(parts[0][0]["method"]) & set(parts[1][0]["method"])
    means = {
        column: {method: mean_and_error(rows[rows["method"] == method], column) for method in sorted(both)}
        for rows, column in parts
    }
    ended = {method: mean["mean"].iloc[-1] for method, mean in means["regret"].items() if len(mean)}
    names = sorted(ended, key=lambda method: (ended[method], method))[:MAX_NAMES]
    if not names:
        return None
    columns = legend_columns(names)
    figure = Figure(figsize=(6.4, 4.0 + 0.17 * -(-len(names) // columns)), layout="constrained", facecolor="white")
    figure.suptitle(f"Regret and curvature over the search\n{label(title, TITLE)}", weight="bold", size=10)
    left = figure.add_subplot()
    right = left.twinx()
    for axes, column, line in ((left, "regret", "-"), (right, "dominant_eigenvalue", "--")):
        for method in names:
            mean = means[column][method]
            x, y, error = (mean.index.to_numpy(float) + 1, mean["mean"].to_numpy(float), mean["error"].to_numpy(float))
            colour = style.colour(method)
            axes.plot(x, y, linestyle=line, color=colour, linewidth=1.8 if axes is left else 1.1)
            axes.fill_between(x, y - error, y + error, color=colour, alpha=0.18, linewidth=0)
    eigenvalues = np.concatenate([means["dominant_eigenvalue"][method]["mean"].to_numpy(float) for method in names])
    if len(eigenvalues) and eigenvalues.min() > 0 and eigenvalues.max() > LOG_RANGE * np.median(eigenvalues):
        right.set_yscale("log")
    left.set_xlabel("epochs of the search", size=9)
    left.set_ylabel("regret (% accuracy)", size=9)
    right.set_ylabel("dominant eigenvalue (dashed)", size=9)
    left.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    tidy(left)
    right.spines[["top", "left"]].set_visible(False)
    right.tick_params(labelsize=8)
    handles = [
        Line2D([], [], color=style.colour(method), linewidth=1.8, label=f"{label(method, LONGEST)} ({count})")
        for method in names
        for count in [count_text(regret[regret["method"] == method])]
    ]
    handles.append(Line2D([], [], color=INK, linestyle="--", linewidth=1.1, label="dominant eigenvalue"))
    figure.legend(handles=handles, frameon=False, fontsize=8.5, ncols=columns, loc="outside lower center")
    return figure
