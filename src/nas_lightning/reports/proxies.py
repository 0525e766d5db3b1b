"""Scores of `analysis=proxies` wherever they lie: a table by run, and pairs to correlate with what runs report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from nas_lightning.core.objective import Goal
from nas_lightning.reports.correlations import Pair
from nas_lightning.reports.records import SETTING, Problems
from nas_lightning.reports.sheets import ABSENT, Sheet, number
from nas_lightning.runs import layout, tables

_PREFIX = "proxy "  # a proxy may have the name of any other column
_OTHERS = ("run", "method", "space", "data", "seed", "epoch", "test_accuracy", "test_metric")


def with_proxies(frame: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """Add a column for each proxy, `proxy NAME`, nan for runs that were not scored; of several scores the last counts.

    Args:
        frame: What `collect` returns.
        problems: Takes the folders whose table cannot be read.
    """
    rows: dict[str, dict[str, float]] = {}
    for folder, kind in frame.attrs["analyses"]:
        if kind == "proxies":
            with problems.noting(folder, layout.ANALYSIS):
                for row in tables.read(Path(folder) / layout.ANALYSIS):
                    scores = {_PREFIX + key: float(row[key] or "nan") for key in row if key not in _OTHERS}
                    rows[row["run"]] = {**rows.get(row["run"], {}), **scores}
    if not rows:
        return frame
    found = pd.DataFrame.from_dict(rows, orient="index").rename_axis("run").reset_index()
    merged = frame.merge(found, on="run", how="left")
    merged.attrs = frame.attrs
    return merged


def _columns(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in frame.columns if str(name).startswith(_PREFIX)]


def proxy_pairs(frame: pd.DataFrame, goal: Goal) -> list[Pair]:
    """Return each proxy with the value on the test part, to be correlated over the runs that report `goal`."""
    test = (goal.key("test"), goal.axis(f"test {goal.name}"))
    return [Pair(name, name, (name, name), test) for name in _columns(frame)]


def proxies(frame: pd.DataFrame) -> Sheet | None:
    """Tabulate the scores of all runs that have some; None without any.

    Args:
        frame: What `with_proxies` returns, and the column `name`.
    """
    names = _columns(frame)
    scored = frame[frame[names].notna().any(axis=1)] if names else frame.iloc[:0]
    if scored.empty:
        return None
    lines = []
    for _, row in scored.iterrows():
        value = row["test_metric"] if pd.isna(row["test_accuracy"]) else row["test_accuracy"]
        scores = [ABSENT if pd.isna(row[name]) else f"{row[name]:.6g}" for name in names]
        words = [str(row["name"]), *(str(row[key]) for key in SETTING), f"{row['seed']:.0f}"]
        lines.append([*words, *scores, number(value)])
    header = ["run", *SETTING, "seed", *(name.removeprefix(_PREFIX) for name in names), "test"]
    note = (
        "Scores of the networks before training, larger promises better; networks of different sizes or data do not"
        " compare. Their correlations with the test part are in the table of correlations."
    )
    return Sheet("proxies", "Zero-cost proxies", header, lines, ("run", *SETTING), note)
