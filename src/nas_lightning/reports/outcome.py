"""Show the outcome of a finished run on the terminal."""

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import Goal
from nas_lightning.core.terminal import screen
from nas_lightning.reports.readings import readings_table
from nas_lightning.runs import layout

log = logging.getLogger(__name__)


def show_outcome(summary: Mapping[str, Any], folder: str, show: bool = True) -> None:
    """Print the outcome of a run: values of its metric, cost, curvature, candidates, the genotype, the folder.

    Args:
        summary: Content of summary.json.
        folder: The run folder, as it is named to the user.
        show: Print it on the terminal; False writes it to run.log alone.
    """
    text = Console(file=StringIO(), width=100)
    for console in (text, screen()) if show else (text,):
        _print(console, summary, folder)
    log.info("outcome\n%s", text.file.getvalue().rstrip())  # type: ignore[attr-defined] # a StringIO


SIZES = {"init_channels": "channels", "layers": "layers", "hidden": "hidden units", "epochs": "epochs"}
"""Sizes of an evaluation, of which each recipe knows some."""


def _judged(section: Mapping[str, Any], goal: Goal) -> Iterator[tuple[str, str]]:
    """Yield the rows on the evaluation; a table of accuracies also gives rank, regret and random search."""
    if (tested := goal.value(section, "test")) is not None:
        yield f"test {goal.name}", goal.shown(tested)
    elif section.get("in_table") is False:
        yield f"test {goal.name}", f"not in the table {section['table']}"
    baseline = section.get("random_baseline")
    if baseline is not None and baseline["mean"] is not None:
        mean = f"{goal.mean_and_std(baseline['mean'], baseline['std'])} {goal.unit}".rstrip()
        yield f"random genotypes, mean of {len(baseline['members'])}", mean
    if section.get("rank") is not None:
        yield f"rank in the table {section['table']}", f"{section['rank']:,} of {section['rank_of']:,}"
    if section.get("regret") is not None:
        yield "regret", f"{section['regret']:.2f} points below the best"
    if section.get("regret_published") is not None:
        yield "regret, as published", f"{section['regret_published']:.2f} points"
    if section.get("random_search_accuracy") is not None:
        expected = f"{section['random_search_accuracy']:.2f} % expected, by {section['random_search_chosen_by']}"
        yield f"random search, best of {section['random_search_draws']}", expected
    if (on_val := goal.value(section, "val")) is not None:
        yield f"{goal.name} on val", goal.shown(on_val)
    for name, value in section.get("references", {}).items():
        yield f"for comparison, {name}", goal.shown(value)
    sizes = [f"{section[key]} {word}" for key, word in SIZES.items() if section.get(key) is not None]
    yield f"recipe {section['recipe']}", ", ".join(sizes)
    yield "parameters", f"{section['params'] / 1e6:.3f} M"
    yield "multiply-accumulates", f"{section['macs'] / 1e6:.1f} M"
    yield "evaluation: time", f"{section['seconds']:.0f} s"


HARDLY_DECIDED = 99.0
"""Entropy in percent of its maximum above which the mixing weights say hardly anything about the genotype."""


def _decided(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rows on how decided the mixing weights are; none for a search of an earlier version, or without any."""
    number = section.get("open_edges")
    if number == 0:
        yield "margin of the choices", "all operations are decided"
    if not number or section.get("margin") is None:
        return
    yield "margin of the choices", f"{section['margin']:.4f}, mean of {number} edge{'s' if number > 1 else ''}"
    entropy = section["entropy_percent"]
    remark = ": hardly decided" if entropy is not None and entropy > HARDLY_DECIDED else ""
    yield (
        "entropy of the choices",
        "not a distribution" if entropy is None else f"{entropy:.2f} % of its maximum{remark}",
    )


def _is_pool(section: Mapping[str, Any] | None) -> bool:
    """Return whether the section `search` is that of a search over a pool, whose candidates are too many to show."""
    return section is not None and "epochs_spent" in section


def _duration(section: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the rows on the cost of a search: its epochs, or the candidates of a pool and theirs."""
    if not _is_pool(section):
        yield "search: time", f"{section['seconds']:.0f} s for {section['epochs']} epochs"
        return
    sizes = [sum(member["level"] == level for member in candidates) for level in range(len(section["levels"]))]
    trained = [f"{size} after {epochs} epochs" for size, epochs in zip(sizes, section["levels"], strict=True) if epochs]
    yield "pool", f"{len(candidates)} candidates{': ' if trained else ''}{', '.join(trained)}"
    if section.get("oracle"):
        yield "chosen by", "accuracies on test (oracle)"
    spent = f", {section['epochs_spent']} epochs spent" if section["epochs_spent"] else ""
    yield "search: time", f"{section['seconds']:.0f} s{spent}"


def _print(console: Console, summary: Mapping[str, Any], folder: str) -> None:
    table = Table(title=f"{summary['method']} · {summary['space']} · {summary['data']} · seed {summary['seed']}")
    table.add_column("what")
    table.add_column("value", justify="right")
    searched, judged, goal = summary["search"], summary["evaluation"], Goal.of(summary)
    if searched:
        if (on_val := goal.value(searched, "val")) is not None:
            table.add_row(f"search: {goal.name} on val", goal.shown(on_val))
        for row in _duration(searched, summary["candidates"] or ()):
            table.add_row(*row)
        for row in _decided(searched):
            table.add_row(*row)
        if searched.get("dominant_eigenvalue") is not None:
            table.add_row("search: dominant eigenvalue", f"{searched['dominant_eigenvalue']:.3f}")
        if searched["curvature_seconds"] is not None:
            table.add_row("curvature: time", f"{searched['curvature_seconds']:.0f} s")
        if searched["stopped_at"] is not None:
            table.add_row("stopped", f"at epoch {searched['stopped_at']}, back to epoch {searched['rolled_back_to']}")
        elif searched["rolled_back_to"] is not None:
            table.add_row("rolled back", f"last to epoch {searched['rolled_back_to']}")
    if summary["selection"] and summary["selection"]["seconds"] >= 1:
        table.add_row("selection: time", f"{summary['selection']['seconds']:.0f} s")
    for member in () if _is_pool(searched) else summary["candidates"] or ():
        named = ", ".join(f"{key}={value}" for key, value in member["values"].items())
        chosen = " (chosen)" if member["chosen"] else ""
        on_val = goal.value(member, "val")
        measured = "not measured" if on_val is None else f"{goal.shown(on_val)} on val"
        table.add_row(f"candidate {named}", f"{measured}{chosen}")
    if judged:
        for row in _judged(judged, goal):
            table.add_row(*row)
    console.print(table)
    readings = readings_table(summary)
    if readings is not None:
        console.print(readings)
    if summary["genotype"]:
        console.print(str(Genotype.from_dict(summary["genotype"])), highlight=False, soft_wrap=True)
    console.print(f"run folder: {folder}", highlight=False, soft_wrap=True)
    for line in _next(summary, folder):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _next(summary: Mapping[str, Any], folder: str) -> Iterator[str]:
    """Yield what the run can be used for, with the words of the command."""
    if (Path(folder) / layout.NETWORK).exists():
        yield f"  export its network: {shlex.join(['task=export', f'run={folder}'])}"
    elif summary["task"] == "select" and not summary["evaluation"]:
        words = shlex.join(["task=evaluate", f"genotype={folder}"])
        yield f"  train its genotype: the command of the search with {words}"
    elif summary["task"] == "search":
        words = shlex.join(["task=evaluate", f"genotype={folder}"])
        yield f"  train its genotype: the same command, in a folder of its own, with {words}"
