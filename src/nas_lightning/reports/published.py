"""Compare runs with published accuracies, where space, data, search and recipe are the published ones.

The numbers are in `published.csv`, each with its source and with the command that reproduces it. A group of runs is
compared with a number only if its configuration is that of the command, apart from what does not change a result;
digits are never compared with CIFAR-10, nor a short search with a long one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from nas_lightning.config.aliases import without_later_keys
from nas_lightning.reports.runs import load_config
from nas_lightning.reports.sheets import Sheet, number

Reference = Callable[[Sequence[str]], Mapping[str, Any]]
"""The configuration of a command."""

STATISTICS = {
    "mean": "mean",
    "best": "best",
    "selected": "best of several by brief retraining",
    "single": "one run",
    "reported": "not stated",
}
"""Statistic of a published number -> its name in tables; a `reported` one is shown, but not subtracted."""

NOTE = (
    "Published numbers are compared only with runs of the same space, data, search and recipe. The difference is ours"
    " minus the published one, in points of accuracy: our mean, or our best where the number is the best of as many"
    " runs. A number whose source does not state the statistic is not subtracted."
)

_SEARCH_SECTIONS = (
    *("space", "relaxation", "hypergradient", "perturbation", "regularizer", "control", "selector"),
    *("search", "candidates", "data"),
)
_EVALUATION_SECTIONS = ("evaluation", "objective")
# Keys that only decide how a run is computed, saved and loaded. A split does not count either: the benchmark's own is
# closer to the published protocol than the halves, not further from it.
_NEUTRAL_KEYS = (
    *("search.snapshots", "search.checkpoint_minutes", "evaluation.checkpoint_minutes", "evaluation.channels_last"),
    *("search.recompute", "evaluation.compile", "evaluation.graph", "evaluation.path", "evaluation.name"),
    *(
        "evaluation.draws",
        "evaluation.random_baseline",
        "evaluation.random_folder",
        "data.root",
        "data.path",
        "data.download",
        "data.num_workers",
        "data.prefetch_factor",
        "data.augment_on",
    ),
    *("data.split", "data.split_file", "data.search_seed"),
)
_CUTS = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "fast_dev_run", "overfit_batches")
_KEYS = ["method", "space", "data", "recipe"]


def read_published() -> pd.DataFrame:
    """Read the published numbers.

    Returns:
        `method`, `space`, `data`, `recipe`, `statistic` (a key of `STATISTICS`), `runs` (their number, nan where it is
        not stated), `accuracy`, `std`, `median` in percent, `words` (the command that reproduces it), `source`,
        `where`.
    """
    with resources.files("nas_lightning.reports").joinpath("published.csv").open(encoding="utf-8") as file:
        frame = pd.read_csv(file)
    is_error = frame["quantity"] == "error"
    for column in ("value", "median"):
        frame[column] = frame[column].where(~is_error, 100 - frame[column])
    return frame.rename(columns={"value": "accuracy"}).drop(columns="quantity")


def compare(
    summary: pd.DataFrame, reference: Reference, published: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, Sheet | None]:
    """Compare groups of runs with published numbers.

    Args:
        summary: What `summarise` returns.
        reference: Composes the configuration of a command.
        published: What `read_published` returns, which is the default.

    Returns:
        The summary with `published`, `published_std` and `difference` where a number is comparable; and a table of all
        numbers of the same method, space, data and recipe with their sources, and a remark why where one is not
        comparable; None where there is no such number.
    """
    published = read_published() if published is None else published
    summary = summary.copy()
    known: dict[str, dict[str, str]] = {}
    lines = []
    for group in summary.index[summary["test_accuracy_mean"].notna()]:  # no number of another metric is known
        row = summary.loc[group]
        for entry in published[(published[_KEYS] == row[_KEYS]).all(axis=1)].to_dict("records"):
            command = str(entry["words"])
            if command not in known:
                known[command] = decisive(reference(command.split()), "task=evaluate" in command)
            remark = _remark(row, known[command], command)
            ours = row["test_accuracy_best" if entry["statistic"] == "best" else "test_accuracy_mean"]
            difference = float("nan") if remark else ours - entry["accuracy"]
            # The best of n runs grows with n, so it is comparable only with the best of as many.
            if entry["statistic"] == "reported" or (entry["statistic"] == "best" and row["n"] != entry["runs"]):
                difference = float("nan")
                remark = remark or _incomparable(entry)
            # The summary has room for one number a group: the first that is comparable and not a best.
            if not remark and entry["statistic"] != "best" and pd.isna(summary["published"][group]):
                values = entry["accuracy"], entry["std"], difference
                summary.loc[group, ["published", "published_std", "difference"]] = values
            lines.append(_line(row, entry, ours, difference, remark))
    header = [*_KEYS, "variant", "n", "here %", "published %", "difference", "of", "source", "remark"]
    if not any(line[len(_KEYS)] for line in lines):
        header, *lines = [[*line[: len(_KEYS)], *line[len(_KEYS) + 1 :]] for line in (header, *lines)]
    words = (*_KEYS, "variant", "of", "source", "remark")
    lead = ("method", "here %", "published %", "difference")
    sheet = Sheet("published", "Beside published values", header, lines, words, NOTE, lead) if lines else None
    return summary, sheet


def decisive(config: Mapping[str, Any], evaluation_alone: bool = False) -> dict[str, str]:
    """Return the part of a configuration that decides a result, as dotted keys and text."""
    config = without_later_keys(config)
    sections = _EVALUATION_SECTIONS if evaluation_alone else (*_SEARCH_SECTIONS, *_EVALUATION_SECTIONS)
    if config.get("control") and not evaluation_alone:  # controls act on the measurements of callbacks
        sections = (*sections, "callbacks")
    flat = {key: str(value) for name in sections for key, value in _flatten(config.get(name), name)}
    candidates = config.get("candidates") or {}
    if candidates.get("key") == "seed":  # only the number of seeds matters
        flat = {key: value for key, value in flat.items() if not key.startswith("candidates.values")}
        values = candidates.get("values")
        flat["candidates.values"] = str(values if isinstance(values, int) else len(values or ()))
    elif candidates.get("key") is None and candidates.get("proposer") is None:
        flat = {key: value for key, value in flat.items() if not key.startswith("candidates.")}
    trainer = config.get("trainer") or {}
    flat |= {f"trainer.{name}": str(trainer[name]) for name in _CUTS if _cuts(trainer.get(name))}
    return {key: value for key, value in flat.items() if key not in _NEUTRAL_KEYS}


def _remark(row: pd.Series[Any], reference: Mapping[str, str], words: str) -> str:
    """Return the reason why a group is not comparable with a command; empty where it is comparable."""
    if pd.isna(row["config_hash"]):
        return "not compared: these runs have no hash that shows that they share a configuration"
    config = load_config(Path(str(row["run"])))
    if not config:
        return "not compared: config.yaml cannot be read"
    ours = decisive(config, "task=evaluate" in words)
    keys = [key for key in {**reference, **ours} if reference.get(key) != ours.get(key)]
    if not keys:
        return ""
    differences = [f"{key}={ours.get(key, 'none')} (published: {reference.get(key, 'none')})" for key in keys[:2]]
    more = f" and {len(keys) - 2} more" if len(keys) > 2 else ""
    return f"not compared: {', '.join(differences)}{more}"


def _incomparable(entry: Mapping[str, Any]) -> str:
    if entry["statistic"] == "reported":
        return "not compared: the source does not state the statistic"
    return f"not compared: the best of {entry['runs']:.0f} cannot be compared with that of another number of runs"


def _line(row: pd.Series[Any], entry: Mapping[str, Any], ours: float, difference: float, remark: str) -> list[str]:
    std = "" if pd.isna(entry["std"]) else f" ± {number(entry['std'])}"
    median = "" if pd.isna(entry["median"]) else f" (median {number(entry['median'])})"
    runs = "" if pd.isna(entry["runs"]) or entry["statistic"] == "single" else f" of {entry['runs']:.0f}"
    return [
        *(str(row[name]) for name in _KEYS),
        str(row["variant"]),
        str(row["n"]),
        number(ours),
        f"{number(entry['accuracy'])}{std}{median}",
        number(difference) if pd.isna(difference) else f"{difference:+.2f}",
        f"{STATISTICS[str(entry['statistic'])]}{runs}",
        f"{entry['source']}, {entry['where']}",
        remark,
    ]


def _cuts(value: Any) -> bool:
    """Return True if an argument of the Trainer leaves batches out: 1.0 is all of them, 1 a single one."""
    return value is not None and value is not False and repr(value) not in ("1.0", "0.0", "0")


def _flatten(content: Any, prefix: str) -> list[tuple[str, Any]]:
    """Return leaves of nested dictionaries by their dotted keys; lists are leaves, and so is an empty dictionary."""
    if not isinstance(content, Mapping) or not content:
        return [(prefix, content)]
    return [leaf for key, value in content.items() for leaf in _flatten(value, f"{prefix}.{key}")]
