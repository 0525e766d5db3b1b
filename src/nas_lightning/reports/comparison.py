"""Compare methods with a baseline, seed by seed, and test the paired differences for significance.

Sources: Wilcoxon (1945) for the signed ranks, Student's t for paired samples, Holm (1979) for several comparisons.
`compare` does the statistics; `write` and `show` only format.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import stats

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.objective import Goal
from nas_lightning.reports.goals import UNIT, goal_of, goal_of_row, is_tested, spread_text, with_goals
from nas_lightning.reports.power import LEVEL, POWER, detectable, friedman, mean_ranks
from nas_lightning.reports.runs import SIZE
from nas_lightning.reports.sheets import Sheet
from nas_lightning.runs.files import write_text

log = logging.getLogger(__name__)

_SHARED = ["space", "data", "judged_on", "table", "recipe", "metric", *SIZE]  # what runs must share to be compared
_SEVERAL = ("space", "data", "judged_on", "table")  # of these, the columns that are shown where there are several
_WORDS = (*_SEVERAL, "of", "method")  # columns that are not numbers
_EXACT_PAIRS = 12  # pairs up to which the signed-rank test enumerates all signs, 4096 of them
_COLUMNS = {
    "method": "method",
    "n": "n",
    "rank": "rank",
    "value": "{} ± std",
    "pairs": "pairs",
    "difference": "difference ± std",
    "detectable": "detectable",
    "wilcoxon_p": "Wilcoxon p",
    "wilcoxon_holm": "Holm",
    "t_p": "paired t p",
    "t_holm": "Holm",
}


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for several comparisons by the step-down method of Holm (1979).

    The smallest is multiplied by their number, the next by one less and so on; the results never fall and are at most
    1. Values that are nan stay nan and do not count.
    """
    p = np.asarray(p_values, dtype=float)
    order = [int(i) for i in np.argsort(p) if not np.isnan(p[i])]  # argsort puts nan last
    adjusted = np.full(len(p), np.nan)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p[index]))
        adjusted[index] = largest
    return adjusted.tolist()


# Long: its docstring names every column.
def compare(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Compare every method with the baseline on the seeds that both have.

    The value compared is the regret where all runs have one (evaluation=tabular), otherwise the test error: smaller is
    better. Runs that report a metric that is no accuracy are compared by it, in its direction. A search over a
    pool, which reads no images of its own, counts as one on the data set that judges it.

    Args:
        frame: What `collect` returns; runs without a value on the test images are left out.
        baseline: The method that the others are compared with.

    Returns:
        One row a method, the best mean first: the columns of space, data, what judges (`judged_on`, `table`), recipe,
        metric and size, `value` (`regret`, `test_error` or `test_metric`; with any of the latter also `unit` and
        `direction` of the metric), `method`, `n`, `mean`, `std`, `rank` (the mean over the seeds that all methods have,
        1 is the best), `friedman_p` (that all methods are alike); against the baseline `pairs`, `difference_mean` and
        `difference_std` (method minus baseline, in percentage points or the unit of the metric; negative where the
        method is better, unless larger values of the metric are), `detectable` (see `reports.power`), `wilcoxon_p` and
        `t_p` (two-sided; nan with fewer than two pairs or no difference at all), and `wilcoxon_holm`, `t_holm`,
        adjusted for the number of methods. Standard deviations are those of a sample.

    Raises:
        ConfigError: There is no run of the baseline, or a method has two runs of one seed.
    """
    runs = with_goals(frame[is_tested(frame)])
    runs["data"] = runs["data"].where(runs["judge"].isna(), runs["judged_on"])
    runs["test_error"] = 100 - runs["test_accuracy"]
    of_accuracy = "regret" if runs.loc[runs["test_accuracy"].notna(), "regret"].notna().all() else "test_error"
    groups: list[pd.DataFrame] = []
    without: list[str] = []
    for labels, same in runs.groupby([*_SHARED, *UNIT], dropna=False, sort=False):
        goal = goal_of(same)
        value = of_accuracy if goal.word == "accuracy" else goal.key("test")
        duplicates = same[same.duplicated(["method", "seed"])]
        if len(duplicates):
            first = duplicates.iloc[0]
            raise ConfigError(
                f"baseline={baseline}: {first['method']} has two runs of seed {first['seed']:g}, {first['run']} is one"
                " of them; name runs of one configuration: runs=multirun/SWEEP"
            )
        table = same.pivot_table(index="seed", columns="method", values=value)
        methods = [str(method) for method in table.columns]
        if baseline not in methods:
            without.append(f"there are no runs of it on {' · '.join(name for name in map(_text, labels[:5]) if name)}")
            continue
        smaller = goal.word == "accuracy" or goal.direction == "min"
        rows = pd.DataFrame([_row(method, table[method], table[baseline]) for method in methods])
        rows["rank"] = rows["method"].map(mean_ranks(table.round(6), smaller))
        rows["friedman_p"] = friedman(table.round(6))
        others = rows["method"] != baseline
        for test in ("wilcoxon", "t"):
            rows.loc[others, f"{test}_holm"] = holm(list(rows.loc[others, f"{test}_p"]))
        rows = rows.sort_values(["mean", "method"], ascending=[smaller, True])
        shared = [*_SHARED, "value", *UNIT]
        for place, (name, label) in enumerate(zip(shared, [*labels[:-2], value, *labels[-2:]], strict=True)):
            rows.insert(place, name, _text(label))
        groups.append(rows)
    if not groups:
        allowed = ", ".join(sorted(map(str, runs["method"].unique()))) or "none, no run has a value on the test images"
        raise ConfigError(f"baseline={baseline}: {'; '.join(without) or 'there are no runs of it'}; allowed: {allowed}")
    for reason in without:
        log.warning("baseline=%s: %s: nothing is compared there", baseline, reason)
    table = pd.concat(groups, ignore_index=True)
    return table if (table["value"] == "test_metric").any() else table.drop(columns=[*UNIT])


def _text(label: object) -> str:
    """Return a label; nothing where runs have none, as without a table."""
    return "" if label is None or label != label else str(label)  # nan differs from itself


def _row(method: str, values: pd.Series[float], baseline: pd.Series[float]) -> dict[str, Any]:
    """Return the row of one method: its own statistics and those of the pairs."""
    row: dict[str, Any] = {"method": method, "n": values.count(), "mean": values.mean(), "std": values.std()}
    keys = ("pairs", "difference_mean", "difference_std", "detectable", "wilcoxon_p", "t_p", "wilcoxon_holm", "t_holm")
    if values.name == baseline.name:
        return row | dict.fromkeys(keys, np.nan)
    # nan on seeds that only one of the two has, so dropna leaves the pairs.
    differences = (values - baseline).dropna().round(6)  # differences by rounding alone are ties
    row |= {"pairs": len(differences), "difference_mean": differences.mean(), "difference_std": differences.std()}
    row["detectable"] = detectable(differences.std(), len(differences))
    tested = len(differences) > 1 and bool((differences != 0).any())
    row["wilcoxon_p"] = float(stats.wilcoxon(differences, method=_signs(len(differences))).pvalue) if tested else np.nan
    row["t_p"] = float(stats.ttest_1samp(differences, 0.0).pvalue) if tested and differences.std() > 0 else np.nan
    return row | {"wilcoxon_holm": np.nan, "t_holm": np.nan}


def _signs(pairs: int) -> Any:
    """Return the method of the signed-rank test: all signs for few pairs, where ties spoil the normal approximation."""
    return stats.PermutationMethod(n_resamples=2**pairs) if pairs <= _EXACT_PAIRS else "auto"


def smallest_p(pairs: int) -> float:
    """Return the smallest two-sided p that the signed-rank test can give: all differences on one side.

    >>> smallest_p(5)
    0.0625
    """
    return 2.0**-pairs * 2


def note(comparison: pd.DataFrame) -> str:
    """Return sentences on the smallest p that the pairs allow, of several groups for the strongest, and on signs."""
    return f"{_strength(comparison)}{_sign(comparison)}{_ranks(comparison)}{_power(comparison)}"


def _ranks(comparison: pd.DataFrame) -> str:
    """Return what the ranks say of all methods together."""
    found = comparison.groupby(_SHARED, dropna=False)["friedman_p"].first().dropna()
    if found.empty:
        return ""
    of = "" if len(found) == 1 else f" in {len(found)} settings"
    p = ", ".join(f"{value:.2g}" for value in found)
    return f" Ranks are means over the seeds that all methods have; Friedman's test that all are alike{of}: p = {p}."


def _power(comparison: pd.DataFrame) -> str:
    """Return what a detectable difference is."""
    if comparison["detectable"].isna().all():
        return ""
    return (
        f" Detectable: the difference that a paired t test at {LEVEL:g}, not corrected, finds with a chance of"
        f" {100 * POWER:g} %."
    )


def _sign(comparison: pd.DataFrame) -> str:
    """Return which sign of a difference is better, where one of a metric is shown that is no accuracy."""
    others = comparison[comparison["value"] == "test_metric"]
    if others.empty:
        return ""
    rising = set(others["metric"][others["direction"] == "max"])
    if not rising:
        return " Differences are the method minus the baseline: a negative one is better."
    if len(rising) == comparison["metric"].nunique():
        return " Differences are the method minus the baseline: a positive one is better."
    names = " and ".join(sorted(name.replace("_", " ") for name in rising))
    return f" Differences are the method minus the baseline: a positive one is better of {names}, else a negative one."


def _strength(comparison: pd.DataFrame) -> str:
    tested = comparison[comparison["wilcoxon_p"].notna()]
    if tested.empty:
        return "No method has two seeds in common with the baseline and differs there: nothing can be tested."
    # The strongest group is the one that can reach the smallest p after Holm's correction.
    groups = tested.groupby(_SHARED, dropna=False)["pairs"].agg(["max", "count"])
    pairs, methods = min(((int(p), int(m)) for p, m in groups.to_numpy()), key=lambda g: g[1] * smallest_p(g[0]))
    least = smallest_p(pairs)
    within = " within a space and data set" if len(groups) > 1 else ""
    return (
        f"With {pairs} pairs the signed-rank test gives no p below {least:.3g}, and Holm's correction for {methods}"
        f" comparisons{within} none below {min(1.0, methods * least):.3g}"
        + ("; only the t test, which takes the differences as normal, can go below 0.05." if least >= 0.05 else ".")
    )


def write(comparison: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `comparison.md` and `comparison.csv`; return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    header, *lines = _cells(comparison)
    rule = ["---" if name in _WORDS else "---:" for name in header]
    markdown, csv = folder / "comparison.md", folder / "comparison.csv"
    table = "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *lines))
    write_text(markdown, f"{table}\n{note(comparison)}\n")
    write_text(csv, comparison.to_csv(index=False))
    return [markdown, csv]


def sheet(comparison: pd.DataFrame) -> Sheet:
    """Return the table for the page of a report."""
    header, *lines = _cells(comparison)
    lead = [name for name in header if name in ("of", "method") or name.endswith("± std")]
    return Sheet("comparison", "Seed by seed", header, lines, _WORDS, note(comparison), lead)


def show(comparison: pd.DataFrame, file: IO[str] | None = None) -> None:
    """Print the table, by default to stdout."""
    header, *lines = _cells(comparison)
    table = Table(caption=Text(note(comparison)), box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in header:
        table.add_column(name, justify="left" if name in _WORDS else "right", no_wrap=True)
    for line in lines:
        table.add_row(*map(Text, line))
    console = Console(file=file)
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)


def _cells(comparison: pd.DataFrame) -> list[list[str]]:
    """Format the table, header first; space, data and what judges are columns where there are several."""
    records = comparison.to_dict("records")
    values = [_value(row) for row in records]
    several = [name for name in _SEVERAL if comparison[name].nunique() > 1]
    several += ["of"] if len(set(values)) > 1 else []
    value = "value" if "of" in several else values[0][0]
    header = [*several, *(title.format(value) for title in _COLUMNS.values())]
    lines = []
    for row, (name, goal) in zip(records, values, strict=True):
        row["of"] = name
        cells = {
            "method": str(row["method"]),
            "n": str(row["n"]),
            "value": f"{goal.number(row['mean'])} ± {spread_text(goal, row['std'])}",
            "rank": _number(row["rank"], 1),
            "pairs": _number(row["pairs"], 0),
            "difference": "–"
            if pd.isna(row["pairs"])
            else f"{_signed(goal, row['difference_mean'])} ± {spread_text(goal, row['difference_std'])}",
            "detectable": "–" if pd.isna(row["detectable"]) else goal.number(row["detectable"]),
            **{name: _number(row[name], 3) for name in ("wilcoxon_p", "wilcoxon_holm", "t_p", "t_holm")},
        }
        lines.append([*(str(row[name]) for name in several), *(cells[name] for name in _COLUMNS)])
    return [header, *lines]


def _value(row: Mapping[Any, Any]) -> tuple[str, Goal]:
    """Return the name of the value of a row, and what its numbers are: those of regret and error are in percent."""
    if row["value"] != "test_metric":
        return str(row["value"]).replace("_", " "), Goal()
    goal = goal_of_row(row)
    return f"test {goal.axis(goal.name)}", goal


def _signed(goal: Goal, value: float) -> str:
    if goal.unit == "%":
        return f"{value:+.2f}"
    return f"{'-' if value < 0 else '+'}{goal.number(abs(value))}" if pd.notna(value) else "nan"


def _number(value: Any, decimals: int) -> str:
    return "–" if pd.isna(value) else f"{value:.{decimals}f}"
