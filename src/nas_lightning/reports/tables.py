"""Tabulate any set of runs: mean ± standard deviation, median and best, group by group.

`summarise` does the statistics and, where runs under the same labels had different configurations, names the
differences; `write` and `show` only format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas_lightning.config.schema import NEUTRAL
from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports import sheets
from nas_lightning.reports.goals import (
    UNIT,
    accuracies_only,
    goal_of_row,
    goals_of,
    heading,
    shared_name,
    spread_text,
    value_heading,
    value_text,
)
from nas_lightning.reports.runs import HASH, LABELS, SIZE, read_config
from nas_lightning.reports.sheets import ABSENT as _ABSENT
from nas_lightning.reports.sheets import Sheet, number
from nas_lightning.runs.files import write_text

# Runs evaluated with networks of different sizes are not comparable, so the size is part of the group; nor are
# runs of different configurations, which `variant` distinguishes where all these agree.
_GROUP = [*LABELS, *SIZE]

# Titles of the columns that hold words; the others hold numbers.
_TEXTS = (*LABELS, "channels/layers/epochs", "variant")
_STATISTICS = "mean ± standard deviation of a sample over the n runs of a configuration, median and best."
_PUBLISHED_NOTE = " Published values are shown only for runs of the published space, data, search and recipe."
RESULTS_NOTE = f"Test accuracy in percent: {_STATISTICS} Best is by test accuracy, so it grows with n.{_PUBLISHED_NOTE}"
LOOKED_UP_NOTE = (
    " Of accuracies from a table: regret, the best of the table minus this one, and rank, 1 for the best of all (equal"
    " ones share the best rank), are means over the runs that the table lists; published regret is counted from the"
    " lowest published error of a single training. Random search is the test accuracy expected of the best of"
    " evaluation.draws architectures, drawn at random and chosen by their validation accuracy after the shortest"
    " training, or by the accuracy itself where the table has no other."
)
BASELINE_NOTE = (
    " Random is the {} of evaluation.random_baseline random genotypes that were trained by the recipe of the run:"
    " mean ± standard deviation of a sample."
)
_NO_HASH = "no hash"
_VARIANT_LENGTH = 60

# Column of the summary -> its title and decimals; a column without any value is not shown.
_OPTIONAL = {
    "regret_mean": ("regret", 2),
    "regret_published_mean": ("published regret", 2),
    "rank_mean": ("rank", 1),
    "not_in_table": ("not in the table", 0),
    "random_search_accuracy_mean": ("random search %", 2),
    "dominant_eigenvalue_mean": ("dominant eigenvalue", 3),
    "skip_share_mean": ("skip %", 1),
}
# Likewise, beside the test accuracy.
_BESIDE = ("random_baseline_mean", "published", "difference")
# Only of runs that report a metric that is no accuracy.
_METRIC = [f"test_metric_{statistic}" for statistic in ("mean", "std", "median", "best")]
_NO_ACCURACY = (*UNIT, *_METRIC, "search_val_metric_mean")


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Group runs by method, space, data, recipe, metric, size of the evaluated network and configuration.

    Args:
        frame: What `collect` returns.

    Returns:
        One row a group, best mean first: `method`, `space`, `data`, `recipe`, `metric`, `init_channels`, `layers`,
        `epochs`, `variant`, `unit` and `direction` of the metric, `config_hash`, `runs`, `n` (the runs that have a
        value on the test images), `test_accuracy_{mean,std,median,best}`, `published`, `published_std`, `difference`
        (empty, to be filled by `nas_lightning.reports.published`), `test_metric_{mean,std,median,best}` (of a metric
        that is no accuracy, in its unit; the best in its direction), `random_baseline_{mean,std}` of random genotypes
        in the unit of the metric, `regret_mean` and `regret_published_mean` in points of accuracy, `rank_mean` in a
        table, `not_in_table` (runs whose architecture a partial table lacks, nan for none),
        `random_search_accuracy_mean` and `search_val_accuracy_mean` in percent, `search_val_metric_mean` in the unit,
        `params_millions_mean`, `search_seconds_mean`, `dominant_eigenvalue_mean`, `skip_share_mean` in percent,
        `curvature_seconds_mean`, `selection_seconds_mean`; means are over the runs that have a value. The standard
        deviation is that of a sample: one run has none. `variant` names the values that distinguish the configuration
        from those of the groups with the same labels, and is empty where there are no others. Runs without a hash make
        up one group.
    """
    summary = _statistics(frame)
    summary.insert(len(_GROUP), "variant", "")
    for name in reversed(("published", "published_std", "difference")):
        summary.insert(list(summary.columns).index("test_accuracy_best") + 1, name, float("nan"))
    for _, same in summary.groupby(_GROUP, dropna=False, sort=False):
        if len(same) > 1:
            summary.loc[same.index, "variant"] = _variants(list(same["config_hash"]), list(same["run"]))
    summary = summary.astype(dict.fromkeys(SIZE, "Int64"))
    summary["params_millions_mean"] /= 1e6
    rising = summary["direction"] == "max"
    summary["test_metric_best"] = summary["test_metric_best"].where(~rising, summary["largest"])
    signed = summary["test_metric_mean"].where(rising, -summary["test_metric_mean"])
    summary = summary.drop(columns="largest").assign(quality=summary["test_accuracy_mean"].fillna(signed))
    rank = ["data", "space", "recipe", "metric", *SIZE, *UNIT, "quality", "method"]
    summary = summary.sort_values(rank, ascending=[name != "quality" for name in rank], ignore_index=True)
    return summary.drop(columns="quality")


def _statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the statistics of every group; `largest` is of `test_metric`, whose `best` is the smallest here."""
    frame = frame.assign(value=frame["test_accuracy"].fillna(frame["test_metric"]))
    return (
        frame.groupby([*_GROUP, *UNIT, *HASH], dropna=False, sort=False)
        .agg(
            run=("run", "first"),
            runs=("run", "size"),
            n=("value", "count"),
            test_accuracy_mean=("test_accuracy", "mean"),
            test_accuracy_std=("test_accuracy", "std"),
            test_accuracy_median=("test_accuracy", "median"),
            test_accuracy_best=("test_accuracy", "max"),
            test_metric_mean=("test_metric", "mean"),
            test_metric_std=("test_metric", "std"),
            test_metric_median=("test_metric", "median"),
            test_metric_best=("test_metric", "min"),
            largest=("test_metric", "max"),
            random_baseline_mean=("random_baseline", "mean"),
            random_baseline_std=("random_baseline_std", "mean"),
            regret_mean=("regret", "mean"),
            regret_published_mean=("regret_published", "mean"),
            rank_mean=("rank", "mean"),
            not_in_table=("in_table", lambda found: (found == 0).sum() or float("nan")),
            random_search_accuracy_mean=("random_search_accuracy", "mean"),
            search_val_accuracy_mean=("search_val_accuracy", "mean"),
            search_val_metric_mean=("search_val_metric", "mean"),
            params_millions_mean=("params", "mean"),
            search_seconds_mean=("search_seconds", "mean"),
            dominant_eigenvalue_mean=("dominant_eigenvalue", "mean"),
            skip_share_mean=("skip_share", "mean"),
            curvature_seconds_mean=("curvature_seconds", "mean"),
            selection_seconds_mean=("selection_seconds", "mean"),
        )
        .reset_index()
    )


def write(summary: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `report.md`, for readers, and `report.csv`, with every number in full; return both paths.

    Neither has columns of published accuracies, of random genotypes, of regret, rank and random search, of the dominant
    eigenvalue or of the share of skip connections where no run has a value, nor of metrics where all report accuracies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    markdown, csv = folder / "report.md", folder / "report.csv"
    write_text(markdown, sheets.markdown(results(summary)))
    absent = [
        name for name in (*_OPTIONAL, *_BESIDE, "random_baseline_std", "published_std") if summary[name].isna().all()
    ]
    absent += _NO_ACCURACY if accuracies_only(goals_of(summary)) else []
    write_text(csv, summary.drop(columns=["run", *absent]).to_csv(index=False))
    return [markdown, csv]


def results(summary: pd.DataFrame) -> Sheet:
    """Return the table for readers."""
    header, *lines = _cells(summary)
    goals = goals_of(summary)
    one = len(goals) == 1 or accuracies_only(goals)
    note = RESULTS_NOTE if accuracies_only(goals) else _metric_note(goals)
    if summary["random_baseline_mean"].notna().any():
        note += BASELINE_NOTE.format("accuracy" if accuracies_only(goals) else shared_name(goals) if one else "value")
    note += LOOKED_UP_NOTE if summary["rank_mean"].notna().any() else ""
    lead = ("method", *(() if one else ("metric",)), f"{value_heading(goals)} ± std", "n", "variant")
    return Sheet("results", "Results", header, lines, words=_TEXTS, note=note, lead=lead)


def _metric_note(goals: Sequence[Goal]) -> str:
    """Return how to read the table where not all values are accuracies."""
    if len(goals) > 1:
        return (
            f"Test values, each row in its own metric: {_STATISTICS} Best is by the test value, so it improves with n."
            f"{_PUBLISHED_NOTE}"
        )
    side = "smallest" if goals[0].direction == "min" else "largest"
    return (
        f"Test {goals[0].axis(goals[0].name)}: {_STATISTICS} Best is the {side} test value, so it improves with n. Rows"
        f" with the {side} means come first."
    )


def show(summary: pd.DataFrame, file: IO[str] | None = None) -> None:
    """Print the table, by default to stdout; the labels that all groups share are in the caption."""
    header, *lines = _cells(summary)
    shared = [
        index
        for index, name in enumerate(header)
        if name in _TEXTS and name != "method" and len({line[index] for line in lines}) == 1
    ]
    facts = [f"{header[index]} {lines[0][index]}" for index in shared]
    if "metric" not in header and summary["metric"].notna().all():
        facts.append(f"metric {summary['metric'].iloc[0]}")
    caption = Text(" · ".join(facts)) if facts else None
    kept = [index for index in range(len(header)) if index not in shared]
    table = Table(caption=caption, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index in kept:
        is_text = header[index] in _TEXTS
        title = header[index].replace("/", "/\n") if is_text else header[index].replace(" ", "\n", 1)
        table.add_column(title, justify="left" if is_text else "right", vertical="bottom", no_wrap=True)
    for line in lines:
        table.add_row(*(Text(line[index]) for index in kept))
    console = Console(file=file)
    # Numbers cut short would be worse than lines that wrap: the table takes the width it needs.
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)


def _variants(hashes: Sequence[Any], runs: Sequence[str]) -> list[str]:
    """Says of every hash what distinguishes its configuration, read from its run; if that is unknown, the hash."""
    # Runs without a hash may differ among themselves, so that none stands for all.
    configs = [{} if pd.isna(digest) else read_config(Path(run)) for digest, run in zip(hashes, runs, strict=True)]
    known = [config for config in configs if config]
    keys = dict.fromkeys(key for config in known for key in config if key.rpartition(".")[2] not in NEUTRAL)
    differing = [key for key in keys if len({config.get(key) for config in known}) > 1]
    counts = Counter(pair for config in known for pair in config.items())
    texts = []
    for config in configs:
        values = {key: config[key] for key in differing if key in config}
        text = _values_text(values)
        if len(text) > _VARIANT_LENGTH:  # values that most of them share distinguish least
            text = _values_text({k: v for k, v in values.items() if 2 * counts[k, v] <= len(known)}) or text
        texts.append(text if len(text) <= _VARIANT_LENGTH else text[: _VARIANT_LENGTH - 1] + "…")
    same = Counter(texts)  # what was cut may be all that differs
    return [
        _NO_HASH if pd.isna(digest) else text if text and same[text] == 1 else str(digest)
        for digest, text in zip(hashes, texts, strict=True)
    ]


def _values_text(values: Mapping[str, str]) -> str:
    """Format values with their keys; of classes, the name alone."""
    pairs = {key: value.rpartition(".")[2] if key.endswith("_target_") else value for key, value in values.items()}
    return ", ".join(f"{key}={value}" for key, value in pairs.items())


def _cells(summary: pd.DataFrame) -> list[list[str]]:
    """Format the table, header first; without a metric that all share, and without empty columns.

    Columns that may be empty are variants, random genotypes, published accuracies, regrets, ranks, random search,
    dominant eigenvalues and shares of skip connections.
    """
    goals = goals_of(summary)
    mixed = len(goals) > 1 and not accuracies_only(goals)
    of_rows = [goal_of_row(row) for row in summary.to_dict("records")]
    beside = (f"{heading('random', goals)} ± std", "published %", "difference")
    header = [*_TEXTS, "n", f"{value_heading(goals)} ± std", "median", "best", *beside]
    header += [heading("search val", goals), "params M", "search s"]
    header += [title for title, _ in _OPTIONAL.values()]
    lines = []
    for row, goal in zip(summary.to_dict("records"), of_rows, strict=True):
        value = goal.key("test")
        labels = row | {"metric": goal.axis(goal.name)} if mixed else row
        size = "/".join(number(row[name], 0) for name in SIZE)
        lines.append(
            [
                *(_ABSENT if pd.isna(labels[name]) else str(labels[name]) for name in LABELS),
                size if any(character.isdigit() for character in size) else _ABSENT,
                row["variant"],
                str(row["n"]) if row["n"] == row["runs"] else f"{row['n']} of {row['runs']}",
                f"{value_text(goal, row[f'{value}_mean'])} ± {spread_text(goal, row[f'{value}_std'])}",
                value_text(goal, row[f"{value}_median"]),
                value_text(goal, row[f"{value}_best"]),
                _with_std(goal, row["random_baseline_mean"], row["random_baseline_std"]),
                _with_std(ACCURACY, row["published"], row["published_std"]),
                _ABSENT if pd.isna(row["difference"]) else f"{row['difference']:+.2f}",
                value_text(goal, row[f"search_{goal.key('val')}_mean"]),
                sheets.millions(row["params_millions_mean"]),
                number(row["search_seconds_mean"], 1),
                *(number(row[name], decimals) for name, (_, decimals) in _OPTIONAL.items()),
            ]
        )
    shown = {"metric": mixed or summary["metric"].nunique(dropna=False) > 1, "variant": summary["variant"].any()}
    shown |= {title: summary[name].notna().any() for name, (title, _) in _OPTIONAL.items()}
    shown |= {title: summary[name].notna().any() for name, title in zip(_BESIDE, beside, strict=True)}
    kept = [index for index, name in enumerate(header) if shown.get(name, True)]
    return [[line[index] for index in kept] for line in (header, *lines)]


def _with_std(goal: Goal, value: float, std: float) -> str:
    text = value_text(goal, value)
    return text if pd.isna(std) else f"{text} ± {spread_text(goal, std)}"
