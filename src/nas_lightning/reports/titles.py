"""Name a run in the titles of its figures: method, space, data and seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def run_title(labels: Mapping[str, Any], *more: str) -> str:
    """Return the title of a run; what is missing is left out.

    Args:
        labels: `method`, `space`, `data` and `seed`, as `summary.json` or a row of `collect` has them.
        more: Further words.

    >>> run_title({"method": "darts", "space": "s3", "data": "digits", "seed": 2.0}, "curvature")
    'darts, s3, digits, seed 2, curvature'
    """
    known = {name: labels.get(name) for name in ("method", "space", "data", "seed")}
    parts = [str(known[name]) for name in ("method", "space", "data") if pd.notna(known[name])]
    if pd.notna(known["seed"]):
        parts.append(f"seed {known['seed']:.0f}")
    return ", ".join([*parts, *more])
