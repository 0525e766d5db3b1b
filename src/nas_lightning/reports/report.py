"""Write the report of any set of runs: a page, figures and tables, and a list of what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from nas_lightning.core.choices import Choice
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.reports import costs, heatmaps, tables, trends
from nas_lightning.reports.correlations import DISCRETIZATION, PAIRS, correlations, discretizations, draw_pair
from nas_lightning.reports.drawing import draw_genotype
from nas_lightning.reports.page import Picture, Section, render
from nas_lightning.reports.published import Reference, compare
from nas_lightning.reports.records import EVALUATION_SETTING, SETTING, Problems, gather, gather_analyses, settings
from nas_lightning.reports.runs import collect
from nas_lightning.reports.sheets import Sheet, write_sheet
from nas_lightning.reports.spectra import LARGEST, MAX_METHODS, draw_spectra
from nas_lightning.reports.style import Style, save
from nas_lightning.runs import layout
from nas_lightning.runs.files import write_text

Choices = Callable[[Path], Mapping[str, Choice]]
"""The choices of the space of a run folder."""

MAX_SETTINGS = 4
"""Pairs of space and data whose searches are drawn, those with the most runs."""
MAX_BEST = 6
"""Runs whose cells and mixing weights are drawn."""

DROPS = ("val_accuracy", "discrete_accuracy", "drop", "dominant_eigenvalue")
"""Columns of `analysis=discretization` that are read."""


@dataclass
class _Report:
    """A report that is being written.

    Attributes:
        frame: A row a run.
        drops: A row a run whose supernet was discretised.
        spectra: A row an eigenvalue of a run.
        folder: Folder of all its files.
        style: Colours of the methods.
        problems: Files that could not be read.
        paths: Files written.
    """

    frame: pd.DataFrame
    drops: pd.DataFrame
    spectra: pd.DataFrame
    folder: Path
    style: Style
    problems: Problems = field(default_factory=Problems)
    paths: list[Path] = field(default_factory=list)

    def picture(self, figure: Figure | None, name: str, caption: str) -> list[Picture]:
        """Write a figure, if there is one."""
        if figure is None:
            return []
        svg, png = save(figure, self.folder / "figures", name)
        self.paths += [svg, png]
        return [Picture(svg, caption)]

    def sheet(self, sheet: Sheet | None) -> list[Sheet]:
        """Write a table, if there is one."""
        if sheet is None:
            return []
        (self.folder / "tables").mkdir(parents=True, exist_ok=True)
        self.paths += write_sheet(sheet, self.folder / "tables")
        return [sheet]


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
    problems = Problems(list(frame.attrs["skipped"]))
    summary, published = compare(tables.summarise(frame), reference)
    drops = gather_analyses(frame, "discretization", DROPS, problems)
    spectra = gather_analyses(frame, "spectrum", ("eigenvalue",), problems)
    style = Style([*frame["method"], *drops["method"], *spectra["method"]])
    report = _Report(frame, drops, spectra, folder, style, problems)
    try:
        report.paths += tables.write(summary, folder)
        sections = [
            Section("results", "Results", sheets=report.sheet(tables.results(summary))),
            Section("comparison", "Methods compared seed by seed", sheets=report.sheet(comparison)),
            Section("published", "Beside published values", sheets=report.sheet(published)),
            *_search_sections(report),
            *_best_sections(report, choices),
            Section("cost", "Cost", sheets=report.sheet(costs.costs(frame)), pictures=_cost(report)),
        ]
        notes = Section("left-out", "Folders that could not be read", items=report.problems.found)
        page = folder / "report.html"
        write_text(page, render("Report of runs", _lead(report, patterns), [*sections, notes]))
    except OSError as error:
        raise ConfigError(
            f"hydra.run.dir={folder}: the report cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    return summary, [page, *report.paths]


def _lead(report: _Report, patterns: Sequence[str] | str) -> list[str]:
    frame = report.frame
    named = patterns if isinstance(patterns, str) else ", ".join(patterns)
    count = len({folder for folder, _ in report.problems.found})
    damaged = f" Something could not be read of {count}: see the end of the page." if count else ""
    return [
        f"{len(frame)} runs of {frame['method'].nunique()} methods, found by runs='{named}'.{damaged}",
        "Accuracies are in percent; the files of all figures (SVG, PNG) and tables (Markdown, CSV, LaTeX) lie in the"
        " folders figures and tables beside this page.",
    ]


def _search_sections(report: _Report) -> Iterator[Section]:
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

    measured = curvature[curvature["dominant_eigenvalue"].abs() < float("inf")]
    means = measured.groupby("run")["dominant_eigenvalue"].mean()
    frame = report.frame.assign(
        mean_eigenvalue=report.frame["run"].map(means).astype(float), test_error=100 - report.frame["test_accuracy"]
    )
    pairs = [*((pair, frame) for pair in PAIRS), (DISCRETIZATION, report.drops)]
    pictures = []
    for pair, rows in pairs:
        caption = f"{pair.title}. A point is a run; at most 4 settings, those of the most runs; the table has all."
        pictures += report.picture(draw_pair(rows, pair, report.style), f"correlation_{pair.name}", caption)
    sheets = [*report.sheet(correlations(pairs)), *report.sheet(discretizations(report.drops))]
    yield Section("correlations", "Correlations", sheets=sheets, pictures=pictures)

    regret = gather(report.frame, layout.TRAJECTORY, ("epoch", "attempt", "regret"), report.problems)
    pictures = []
    for index, (title, rows) in enumerate(settings(regret, SETTING, MAX_SETTINGS)):
        caption = (
            f"Regret after each epoch, {title}: the best test accuracy of the table minus that of the architecture that"
            " the search would have returned; mean ± one standard deviation. A dashed level line is that of a"
            " method that derives its architecture only at the end."
        )
        same = (report.frame[list(SETTING)] == rows[list(SETTING)].iloc[0]).all(axis=1)
        ends = report.frame.loc[same & report.frame["regret"].notna(), ["run", "method", "regret"]]
        figure = trends.draw_regret(rows, ends, report.style, f"regret · {title}")
        pictures += report.picture(figure, f"regret_{index + 1}", caption)
    yield Section("regret", "Regret over the search", pictures=pictures)


def _left_out(rows: pd.DataFrame, shown: int) -> str:
    missing = rows.groupby(list(SETTING), dropna=False).ngroups - shown
    return f" {missing} more pairs of space and data, with fewer runs, are not drawn." if missing else ""


def best_runs(frame: pd.DataFrame, limit: int = MAX_BEST) -> pd.DataFrame:
    """Return the best run of each method by test accuracy (else by accuracy on `val`), setting by setting.

    Settings of the most runs come first, better methods first within one.
    """
    chosen = []
    for _, rows in settings(frame, EVALUATION_SETTING, len(frame)):
        ranked = rows.sort_values(["test_accuracy", "search_val_accuracy"], ascending=False, na_position="last")
        chosen.append(ranked.drop_duplicates("method"))
    return pd.concat(chosen).head(limit)


def _best_sections(report: _Report, choices: Choices) -> Iterator[Section]:
    """Yield the sections with mixing weights and cells of the best run of each method."""
    best = best_runs(report.frame)
    total = len(report.frame.drop_duplicates(["method", *EVALUATION_SETTING]))
    drawn = f" {len(best)} of {total} pairs of method and setting are drawn." if total > len(best) else ""
    cells, maps = [], []
    for index, (_, row) in enumerate(best.iterrows(), start=1):
        run = Path(row["run"])
        name = f"{row['method']}, {row['space']} on {row['data']}"
        with report.problems.noting(str(run), layout.GENOTYPE):
            cells += _cells(report, run, index, name, row)
        with report.problems.noting(str(run), layout.GENOTYPES):
            maps += _maps(report, run, index, name, choices)
    chosen = f"Of the best run of each method by test accuracy, else by accuracy on val.{drawn}"
    yield Section("mixing", "Mixing weights over the search", [chosen] if maps else (), pictures=maps)
    yield Section("cells", "Cells", [chosen] if cells else (), pictures=cells)


def _cells(report: _Report, run: Path, index: int, name: str, row: pd.Series[Any]) -> list[Picture]:
    if not (run / layout.GENOTYPE).exists():
        return []
    tested = f", test accuracy {row['test_accuracy']:.2f} %" if pd.notna(row["test_accuracy"]) else ""
    tested += f", rank {row['rank']:.0f} in the table" if pd.notna(row["rank"]) else ""
    pictures = []
    for number, (cell, figure) in enumerate(draw_genotype(Genotype.load(run)).items()):
        caption = f"{name}: {cell} cell{tested}; {run}."
        pictures += report.picture(figure, f"cell_{index}_{number + 1}", caption)
    return pictures


def _maps(report: _Report, run: Path, index: int, name: str, choices: Choices) -> list[Picture]:
    lines = heatmaps.read_mixing(run / layout.GENOTYPES)
    if not lines:
        return []
    pictures = []
    for number, choice in enumerate(choices(run).values()):
        if choice.name in lines[0]["mixing"]:
            figure = heatmaps.draw_mixing_over_time(lines, choice, f"{name}: {choice.name}")
            caption = f"{name}: mixing weights of {choice.name} before the search and after each epoch; {run}."
            pictures += report.picture(figure, f"mixing_{index}_{number + 1}", caption)
    return pictures


def _cost(report: _Report) -> list[Picture]:
    caption = (
        f"Mean wall-clock time of a run by method; at most {costs.MAX_PANELS} pairs of space and data and"
        f" {costs.MAX_METHODS} methods each, the most expensive."
    )
    return report.picture(costs.draw_costs(report.frame), "costs", caption)
