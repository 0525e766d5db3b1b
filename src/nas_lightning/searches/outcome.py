"""Read the outcome of a search from the tables of its run folder."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nas_lightning.core.objective import Goal
from nas_lightning.runs.folder import RunFolder


def eigenvalue_at(curvature: Sequence[Mapping[str, str]], epoch: int) -> float | None:
    """Return the latest dominant eigenvalue measured up to the end of a search epoch; None if there is none.

    Args:
        curvature: Rows of curvature.csv.
        epoch: The search epoch, from 0.
    """
    measured = [row for row in curvature if int(row["search_epoch"]) <= epoch]
    nearest = max(measured, key=lambda row: (int(row["search_epoch"]), int(row["epoch"])), default=None)
    return _number(nearest, "dominant_eigenvalue", 6)


def _number(row: Mapping[str, str] | None, name: str, digits: int) -> float | None:
    value = _finite(row, name)
    return None if value is None else round(value, digits)


def _finite(row: Mapping[str, str] | None, name: str) -> float | None:
    value = float((row or {}).get(name) or math.nan)
    return value if math.isfinite(value) else None


def _metric(row: Mapping[str, str] | None, goal: Goal) -> dict[str, float | None]:
    """Return the metric on `val` of an objective that is no accuracy, in its unit."""
    if row is None or "val_metric" not in row:
        return {}
    value = _finite(row, "val_metric")
    if value is not None:
        value = round(value, 6) if goal.unit == "%" else goal.rounded(value)
    return {"val_metric": value}


def outcome_of_tables(folder: RunFolder, last: int, epochs: int | None = None) -> dict[str, Any]:
    """Return the fields of the summary's section `search` that are read from metrics.csv and curvature.csv.

    Args:
        folder: The run folder.
        last: The last search epoch of the final supernet; a control may have rolled back to it.
        epochs: Search epochs as planned; None where the folder is that of another run, which may have gone further.
    """
    rows = [row for row in folder.read_metrics() if row["phase"] == "search"]
    attempts = [row for row in rows if int(row["search_epoch"]) == last]  # one row per attempt; the last is valid
    final = attempts[-1] if attempts else None
    open_edges = _number(final, "open_edges", 0)
    curvature = folder.read_curvature()

    events = [row for row in curvature if row["event"]]
    stopped = [int(row["search_epoch"]) for row in events if row["event"] == "stopped"]
    back = [int(row["to_epoch"]) for row in events]
    # A control that stops without a measurement leaves no event, but the rows end beyond that epoch, or too early.
    if rows and epochs is not None and not events:
        end = int(rows[-1]["search_epoch"])
        stopped = [end] if end > last or end < epochs - 1 else []
        back = [last] if end > last else []
    return {
        "val_accuracy": _number(final, "val_accuracy", 4),
        **_metric(final, Goal.of(folder.summary())),
        "margin": _number(final, "margin", 6),
        "entropy_percent": _number(final, "entropy_percent", 4),
        "open_edges": None if open_edges is None else int(open_edges),
        "curvature_seconds": round(sum(float(row["seconds"]) for row in curvature), 3) if curvature else None,
        "stopped_at": stopped[-1] if stopped else None,
        "rolled_back_to": back[-1] if back else None,
        # The latest up to that epoch: a control can roll back to an epoch without a measurement.
        "dominant_eigenvalue": eigenvalue_at(curvature, last),
    }
