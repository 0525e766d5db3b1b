"""Write the report of any set of runs: a page, figures and tables, and a list of what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from nas_lightning.core.choices import Choice
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.reports import answers, costs, heatmaps, tables, trajectories, trends
from nas_lightning.reports.book import Book
from nas_lightning.reports.correlations import (
    PAIRS,
    Pair,
    correlations,
    discretizations,
    draw_pair,
    drop_pair,
    metric_pairs,
)
from nas_lightning.reports.drawing import draw_genotype
from nas_lightning.reports.drops import gather_drops
from nas_lightning.reports.folders import Folders
from nas_lightning.reports.goals import UNIT, goal_of, goal_of_row, goals_of, shared_name
from nas_lightning.reports.groups import label_runs, repeated
from nas_lightning.reports.page import Picture, Section, render
from nas_lightning.reports.proxies import proxies, proxy_pairs, with_proxies
from nas_lightning.reports.published import Reference, compare
from nas_lightning.reports.records import EVALUATION_SETTING, SETTING, Problems, gather, gather_analyses, settings
from nas_lightning.reports.runs import collect
from nas_lightning.reports.sheets import Sheet
from nas_lightning.reports.spectra import LARGEST, MAX_METHODS, draw_spectra
from nas_lightning.reports.style import Style
from nas_lightning.reports.titles import run_title
from nas_lightning.runs import layout
from nas_lightning.runs.files import write_text

Choices = Callable[[Path], Mapping[str, Choice]]
"""The choices of the space of a run folder."""

MAX_SETTINGS = 4
"""Pairs of space and data whose searches are drawn, those with the most runs."""
MAX_BEST = 6
"""Runs whose cells and mixing weights are drawn."""


def write_report(
    patterns: Sequence[str] | str,
    folder: Path,
    reference: Reference,
    choices: Choices,
    comparison: Sheet | None = None,
) -> tuple[pd.DataFrame, list[Path]]:
    """Write the report of all runs that the patterns find.

    `report.html` (self-contained), `report.md` and `report.csv` (the table of results), `figures/*.svg` and `*.png`,
    `tables/*.md`, `*.csv` and `*.tex`. A run folder that cannot be read is named on the page and stops nothing.

    Args:
        patterns: As in `collect`.
        folder: Folder of the report; made if it is missing.
        reference: Composes the configuration of a command, to decide whether a published value is comparable.
        choices: Builds the choices of a run's space, to name the rows and options of its mixing weights.
        comparison: Table of methods against a baseline, if wanted.

    Returns:
        The summary, and the files written, the page first.

    Raises:
        ConfigError: A pattern finds no run, or the folder cannot be written.
    """
    frame = collect(patterns)
    problems = Problems([*frame.attrs["skipped"], *frame.attrs["unfinished"]])
    for run, reason in repeated(frame):
        problems.add(run, reason)
    summary, published = compare(tables.summarise(frame), reference)
    drops = gather_drops(frame, problems)
    spectra = gather_analyses(frame, "spectrum", ("eigenvalue",), problems)
    folders = Folders(frame["run"])
    frame = label_runs(with_proxies(frame, problems), summary)
    frame["name"] = frame["name"].map(folders.hide)
    style = Style(
        [*frame["method"], *frame["name"], *(name for one in drops for name in one.rows["method"]), *spectra["method"]]
    )
    report = Book(frame, drops, spectra, folder, style, folders, problems)
    try:
        report.paths += tables.write(summary, folder)
        sections = [
            *answers.sections(report),
            Section("results", "Results by configuration", sheets=report.sheet(tables.results(summary))),
            Section("comparison", "Methods compared seed by seed", sheets=report.sheet(comparison)),
            Section("published", "Beside published values", sheets=report.sheet(published)),
            *_search_sections(report),
            *_best_sections(report, choices),
            Section("cost", "Cost", sheets=report.sheet(costs.costs(frame)), pictures=_cost(report)),
        ]
        heading = "Folders that could not be read, are not finished or count twice"
        notes = Section("left-out", heading, items=report.problems.found)
        page = folder / "report.html"
        shown = [section.passed(folders.hide) for section in (*sections, notes)]
        write_text(page, render("Report of runs", [folders.hide(text) for text in _lead(report, patterns)], shown))
    except OSError as error:
        raise ConfigError(
            f"hydra.run.dir={folder}: the report cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    return summary, [page, *report.paths]


def _lead(report: Book, patterns: Sequence[str] | str) -> list[str]:
    frame = report.frame
    named = patterns if isinstance(patterns, str) else ", ".join(patterns)
    count = len({folder for folder, _ in report.problems.found})
    told = f" {count} folders could not be read, are not finished or count twice: see the end of the page."
    damaged = told if count else ""
    percent = "Accuracies are in percent; the" if any(g.word == "accuracy" for g in goals_of(frame)) else "The"
    return [
        *answers.answers(frame),
        f"{len(frame)} runs of {frame['method'].nunique()} methods, found by runs='{named}'.{damaged}",
        f"{percent} files of all figures (SVG, PNG) and tables (Markdown, CSV, LaTeX) lie in the folders figures and"
        " tables beside this page.",
    ]


def _search_sections(report: Book) -> Iterator[Section]:
    """Yield the sections on searches: curvature, spectra, correlations, regret."""
    curvature = gather(
        report.frame, layout.CURVATURE, ("epoch", "attempt", "dominant_eigenvalue"), report.problems, ("event",)
    )
    parts = settings(curvature, SETTING, MAX_SETTINGS)
    left_out = _left_out(curvature, len(parts))
    pictures = []
    for index, (title, rows) in enumerate(parts):
        caption = (
            f"Dominant eigenvalue of the Hessian of the architecture loss, {title}: a panel a method, at most"
            f" {trends.MAX_METHODS}; thin lines and marks are of single runs, at most {trends.MAX_LINES} a panel; the"
            f" thick line is the mean of all while all are measured, the band ± one standard deviation.{left_out}"
        )
        figure = trends.draw_eigenvalues(rows, report.style, f"curvature · {title}")
        pictures += report.picture(figure, f"eigenvalues_{index + 1}", caption)
    yield Section("curvature", "Curvature over the search", pictures=pictures)

    pictures = []
    for index, (title, rows) in enumerate(settings(report.spectra, SETTING, MAX_SETTINGS)):
        caption = (
            f"Eigenvalues of the Hessian of the validation loss in the architecture parameters, {title}: the {LARGEST}"
            f" largest by absolute value of each run, a panel a method, at most {MAX_METHODS}."
        )
        figure = draw_spectra(rows, report.style, f"spectra · {title}")
        pictures += report.picture(figure, f"spectra_{index + 1}", caption)
    yield Section("spectra", "Spectra at the end of the search", pictures=pictures)

    yield _correlations(report, curvature)

    regret = gather(report.frame, layout.TRAJECTORY, ("epoch", "attempt", "regret"), report.problems)
    pictures = []
    for index, (title, rows) in enumerate(settings(regret, SETTING, MAX_SETTINGS)):
        caption = (
            f"Regret after each epoch, {title}: the best test accuracy of the table minus that of the architecture that"
            " the search would have returned; mean ± one standard deviation. A dashed level line is that of a"
            " method that derives its architecture only at the end."
        )
        same = (report.frame[list(SETTING)] == rows[list(SETTING)].iloc[0]).all(axis=1)
        ends = report.frame.loc[same & report.frame["regret"].notna(), ["run", "method", "seed", "regret"]]
        figure = trends.draw_regret(rows, ends, report.style, f"regret · {title}")
        pictures += report.picture(figure, f"regret_{index + 1}", caption)
        there = (curvature[list(SETTING)] == rows[list(SETTING)].iloc[0]).all(axis=1)
        caption = (
            f"Regret (solid) and dominant eigenvalue (dashed) after each epoch, {title}: mean ± standard error over the"
            f" runs of a method; at most {trajectories.MAX_NAMES} methods, those with the least regret at the end."
        )
        figure = trajectories.draw_trajectories(rows, curvature[there], report.style, title)
        pictures += report.picture(figure, f"trajectory_{index + 1}", caption)
    yield Section("regret", "Regret over the search", pictures=pictures)


def _correlations(report: Book, curvature: pd.DataFrame) -> Section:
    """Return the section on correlations over single runs."""
    measured = curvature[curvature["dominant_eigenvalue"].abs() < float("inf")]
    means = measured.groupby("run")["dominant_eigenvalue"].mean()
    frame = report.frame.assign(
        mean_eigenvalue=report.frame["run"].map(means).astype(float), test_error=100 - report.frame["test_accuracy"]
    )
    pairs = _pairs(report, frame)
    pictures = []
    for pair, rows in pairs:
        caption = f"{pair.title}. A point is a run; at most 4 settings, those of the most runs; the table has all."
        pictures += report.picture(draw_pair(rows, pair, report.style), f"correlation_{pair.name}", caption)
    sheets = report.sheet(proxies(frame))
    sheets += report.sheet(correlations([*pairs, *_proxy_pairs(frame)]))
    for one in report.drops:
        sheets += report.sheet(discretizations(one.rows, one.goal, one.name))
    return Section("correlations", "Correlations", sheets=sheets, pictures=pictures)


def _proxy_pairs(frame: pd.DataFrame) -> list[tuple[Pair, pd.DataFrame]]:
    """Return zero-cost proxies with the value on the test part, goal by goal, each with its rows."""
    goals = list(map(goal_of_row, frame[["metric", *UNIT]].to_dict("records")))
    return [
        (pair, frame[[one == goal for one in goals]]) for goal in goals_of(frame) for pair in proxy_pairs(frame, goal)
    ]


def _pairs(report: Book, frame: pd.DataFrame) -> list[tuple[Pair, pd.DataFrame]]:
    """Return the pairs of columns that are correlated, each with its rows."""
    others = [goal for goal in goals_of(frame) if goal.word != "accuracy"]
    goals = list(map(goal_of_row, frame[["metric", *UNIT]].to_dict("records")))
    pairs = [(pair, frame) for pair in PAIRS]
    for index, goal in enumerate(others):
        rows = frame[[one == goal for one in goals]]
        pairs += [(pair, rows) for pair in metric_pairs(goal, f"metric-{index + 1}" if index else "metric")]
    return pairs + [(drop_pair(one.goal, one.name), one.rows) for one in report.drops]


def _left_out(rows: pd.DataFrame, shown: int) -> str:
    missing = rows.groupby(list(SETTING), dropna=False).ngroups - shown
    return f" {missing} more pairs of space and data, with fewer runs, are not drawn." if missing else ""


def best_runs(frame: pd.DataFrame, limit: int = MAX_BEST) -> pd.DataFrame:
    """Return the best run of each method on the test images (else on `val`), setting by setting.

    Settings of the most runs come first, better methods first within one.
    """
    chosen = []
    for _, rows in settings(frame, EVALUATION_SETTING, len(frame)):
        goal = goal_of(rows)
        columns = [goal.key("test"), f"search_{goal.key('val')}"]
        ranked = rows.sort_values(columns, ascending=goal.direction == "min", na_position="last")
        chosen.append(ranked.drop_duplicates("method"))
    return pd.concat(chosen).head(limit)


def _best_sections(report: Book, choices: Choices) -> Iterator[Section]:
    """Yield the sections with mixing weights and cells of the best run of each method."""
    best = best_runs(report.frame)
    total = len(report.frame.drop_duplicates(["method", *EVALUATION_SETTING]))
    drawn = f" {len(best)} of {total} pairs of method and setting are drawn." if total > len(best) else ""
    scale = _scale(best, choices)
    cells, maps = [], []
    for index, (_, row) in enumerate(best.iterrows(), start=1):
        name = run_title({str(key): value for key, value in row.items()})
        with report.problems.noting(str(row["run"]), layout.GENOTYPE):
            cells += _cells(report, index, name, row)
        with report.problems.noting(str(row["run"]), layout.GENOTYPES):
            maps += _maps(report, index, name, row, choices, scale)
    name = shared_name(goals_of(report.frame))
    chosen = f"Of the best run of each method by test {name}, else by {name} on val.{drawn}"
    yield Section("mixing", "Mixing weights over the search", [chosen] if maps else (), pictures=maps)
    yield Section("cells", "Cells", [chosen] if cells else (), pictures=cells)


def _cells(report: Book, index: int, name: str, row: pd.Series[Any]) -> list[Picture]:
    run = Path(row["run"])
    if not (run / layout.GENOTYPE).exists():
        return []
    goal = goal_of_row({str(key): value for key, value in row.items()})
    value = row[goal.key("test")]
    tested = f", test {goal.name} {goal.shown(value)}" if pd.notna(value) else ""
    tested += f", rank {row['rank']:.0f} in the table" if pd.notna(row["rank"]) else ""
    tested += ", not in the table" if row["in_table"] == 0 else ""
    pictures = []
    for place, (cell, figure) in enumerate(draw_genotype(Genotype.load(run), name).items()):
        caption = f"{name}: {cell} cell{tested}; {report.folders.name(row['run'])}."
        pictures += report.picture(figure, f"cell_{index}_{place + 1}", caption)
    return pictures


def _scale(best: pd.DataFrame, choices: Choices) -> tuple[float, float] | None:
    """Return the smallest and the largest mixing weight of all runs that are drawn; None where there are none."""
    ends: list[float] = []
    for run in map(Path, best["run"]):
        with suppress(Exception):  # what cannot be read is noted when it is drawn
            lines = heatmaps.read_mixing(run / layout.GENOTYPES)
            for choice in choices(run).values() if lines else ():
                if choice.name in lines[0]["mixing"]:
                    ends += heatmaps.occurring(lines, choice)
    return (min(ends), max(ends)) if ends else None


def _maps(
    report: Book, index: int, name: str, row: pd.Series[Any], choices: Choices, scale: tuple[float, float] | None
) -> list[Picture]:
    run = Path(row["run"])
    lines = heatmaps.read_mixing(run / layout.GENOTYPES)
    if not lines:
        return []
    pictures = []
    for place, choice in enumerate(choices(run).values()):
        if choice.name in lines[0]["mixing"]:
            figure = heatmaps.draw_mixing_over_time(lines, choice, f"{name}: {choice.name}", scale)
            caption = (
                f"{name}: mixing weights of {choice.name} before the search and after each epoch, on the scale of all"
                f" such figures of this page; {report.folders.name(row['run'])}."
            )
            pictures += report.picture(figure, f"mixing_{index}_{place + 1}", caption)
    return pictures


def _cost(report: Book) -> list[Picture]:
    caption = (
        f"Mean wall-clock time of a run by method; at most {costs.MAX_PANELS} pairs of space and data and"
        f" {costs.MAX_METHODS} methods each, the most expensive."
    )
    return report.picture(costs.draw_costs(report.frame), "costs", caption)
