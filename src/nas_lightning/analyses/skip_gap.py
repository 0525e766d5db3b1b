"""The excess weight of skip connections over convolutions against the accuracy of the supernet, epoch by epoch.

Source: Wang et al., Rethinking architecture selection in differentiable NAS (ICLR 2021), figure 2.3 of Wang's thesis:
in S2 the gap grows with the accuracy of the supernet, as `nas_lightning.analyses.optimal_mixture` explains.
It is read from the tables of finished searches: nothing is computed anew. Of an objective that reports another metric,
its value takes the place of the accuracy throughout.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nas_lightning import reports
from nas_lightning.analyses.base import show_table
from nas_lightning.analyses.figures import save_skip_gap
from nas_lightning.analyses.goals import SharedGoal, note_goal
from nas_lightning.core.choices import Choice
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.objective import Goal
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)


def skip_gap(mixing: Mapping[str, Sequence[Sequence[float]]], choices: Mapping[str, Choice]) -> float | None:
    """Average (weight of skip_connect − mean weight of the convolutions) over the edges, then over the choices.

    Only edges that offer both count; convolutions are the operations with `conv` in their name. With one convolution
    per edge (S2) it is the published quantity; with several (DARTS' space) their mean and the average over the cell
    types are ours.

    Args:
        mixing: Mixing weights by choice, [R][O].
        choices: The choices of the space.

    Returns:
        The gap, from −1 to 1; None if no edge offers both.
    """
    means: list[float] = []
    for name, choice in choices.items():
        gaps: list[float] = []
        for row, options in enumerate(choice.options if choice.kind == "op" else ()):
            weights = [float(weight) for weight in mixing[name][row][: len(options)]]
            convolutions = [weight for weight, op in zip(weights, options, strict=True) if "conv" in op]
            if "skip_connect" in options and convolutions:
                gaps.append(weights[options.index("skip_connect")] - sum(convolutions) / len(convolutions))
        if gaps:
            means.append(sum(gaps) / len(gaps))
    return sum(means) / len(means) if means else None


class SkipGap:
    """Joins the mixing weights in genotypes.jsonl with the accuracies in metrics.csv, both of the search only.

    The correlations, over the epochs of one run and over those of all runs together, are ours. They are with the metric
    as it is reported, also where smaller is better. Runs with another metric than the first are left out.
    """

    of_supernet = False

    def check(self, bench: Workbench) -> None:
        """Refuse runs without a skip gap.

        Raises:
            ConfigError: No run is given, none is found, or none has the two tables.
        """
        self._rows(bench)

    def __call__(self, bench: Workbench) -> dict[str, Any]:
        """Write table and figure; return the correlations."""
        rows, goal = self._rows(bench)
        bench.folder.save_analysis(rows)
        note_goal(bench.folder, goal)
        save_skip_gap(rows, bench.folder.plots, goal)
        frame = pd.DataFrame(rows)
        runs = [{"run": str(run), **_correlations(same, goal)} for run, same in frame.groupby("run", sort=False)]
        together = _correlations(frame, goal)
        show_table(
            f"skip gap against {goal.name} on val",
            ["run", "epochs", "first gap", "last gap", "Pearson r", "Spearman ρ"],
            [
                [
                    str(run["run"]),
                    str(run["epochs"]),
                    *(f"{run[key]:.4f}" for key in ("first_gap", "last_gap")),
                    *("–" if run[key] is None else f"{run[key]:.3f}" for key in ("pearson", "spearman")),
                ]
                for run in runs
            ],
        )
        return {"name": "skip_gap", "pearson": together["pearson"], "spearman": together["spearman"], "runs": runs}

    def _rows(self, bench: Workbench) -> tuple[list[dict[str, Any]], Goal]:
        """Return one row per run and epoch, and what all of them report.

        Raises:
            ConfigError: No run is given, none is found, or none has the two tables.
        """
        patterns = bench.config.runs if bench.config.runs is not None else bench.config.run
        if patterns is None:
            raise ConfigError(
                "runs=null: analysis=skip_gap reads the tables of searches; give a glob of run folders,"
                " runs='multirun/**', or run=outputs/DATE/TIME"
            )
        rows: list[dict[str, Any]] = []
        shared = SharedGoal()
        for path in reports.collect(patterns)["run"]:
            folder = RunFolder(path, "runs")
            goal = Goal.of(folder.summary())
            found = rows_of(folder, goal)
            if not found:
                article = "an" if goal.name[0] in "aeiou" else "a"
                log.warning("skipped %s: no epoch has both mixing weights and %s %s", path, article, goal.name)
                continue
            try:
                shared.add(folder, goal)
            except ConfigError as error:
                log.warning("skipped %s: %s", path, error)
                continue
            rows += found
        if not rows:
            raise ConfigError(
                f"runs={json.dumps(patterns)}: no run there has genotypes.jsonl and metrics.csv of a search over edges"
                " that offer both skip_connect and a convolution; give other runs, runs='multirun/**'"
            )
        return rows, shared.goal


def rows_of(folder: RunFolder, goal: Goal) -> list[dict[str, Any]]:
    """Return one row per epoch of a search with both mixing weights and a value of its metric.

    Raises:
        ConfigError: The folder's configuration cannot be read.
    """
    key = goal.key("val")
    values = {
        int(row["epoch"]): float(row.get(key) or math.nan) for row in folder.read_metrics() if row["phase"] == "search"
    }
    if not values or not folder.genotypes.exists():
        return []
    choices = Workbench(folder.config(), folder).space.choices
    rows: list[dict[str, Any]] = []
    for entry in folder.read_genotypes(skip_damaged=True):
        value = values.get(entry["epoch"], math.nan)
        gap = skip_gap(entry["mixing"], choices) if math.isfinite(value) else None
        if gap is not None:
            position = {key: entry[key] for key in ("epoch", "search_epoch", "attempt")}
            rows.append({"run": str(folder), **position, "skip_gap": round(gap, 6), key: value})
    return rows


def _correlations(frame: pd.DataFrame, goal: Goal) -> dict[str, Any]:
    """Return Pearson's r and Spearman's ρ of gap and metric, None if either is constant."""
    gap, value = frame["skip_gap"], frame[goal.key("val")]
    varies = gap.nunique() > 1 and value.nunique() > 1
    found: dict[str, Any] = {
        "epochs": len(frame),
        "first_gap": float(gap.iloc[0]),
        "last_gap": float(gap.iloc[-1]),
        "pearson": round(float(gap.corr(value)), 4) if varies else None,
        "spearman": round(float(gap.rank().corr(value.rank())), 4) if varies else None,
    }
    return found
