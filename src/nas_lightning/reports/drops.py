"""Tables of `analysis=discretization` wherever they lie, by the metric that they report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports.records import Problems, gather_tables
from nas_lightning.runs import documents, layout


@dataclass(frozen=True)
class Drops:
    """What supernets lose by discretisation, in one metric.

    Args:
        name: Of the files of its figure and table.
        goal: The metric.
        rows: A row a run: `run`, `method`, `seed`, `space`, `data`, `epoch`, `val_accuracy` and `discrete_accuracy` (or
            `…_metric`), `drop`, `dominant_eigenvalue`.
    """

    name: str
    goal: Goal
    rows: pd.DataFrame


def gather_drops(frame: pd.DataFrame, problems: Problems) -> list[Drops]:
    """Read the tables of all metrics, accuracy first.

    Args:
        frame: What `collect` returns.
        problems: Takes the folders whose files cannot be read.
    """
    folders: dict[Goal, list[str]] = {}
    for folder, kind in frame.attrs["analyses"]:
        if kind == "discretization":
            with problems.noting(folder, layout.SUMMARY):
                said = Goal.of(documents.read_json(Path(folder) / layout.SUMMARY)).to_dict()
                goal = Goal(**{key: str(value) for key, value in said.items()})  # type: ignore[arg-type]
                folders.setdefault(goal, []).append(folder)
    found = []
    for index, goal in enumerate(sorted(folders, key=lambda goal: (goal != ACCURACY, goal.metric, goal.unit))):
        numbers = goal.key("val"), goal.key("discrete"), "drop", "dominant_eigenvalue"
        name = f"discretization-{index + 1}" if index else "discretization"
        found.append(Drops(name, goal, gather_tables(folders[goal], numbers, problems)))
    return found
