"""The state of a report while it is written: its data, and the files of its figures and tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from nas_lightning.reports.drops import Drops
from nas_lightning.reports.folders import Folders
from nas_lightning.reports.page import Picture
from nas_lightning.reports.records import Problems
from nas_lightning.reports.sheets import Sheet, write_sheet
from nas_lightning.reports.style import Style, save
from nas_lightning.runs import tables

HALF = 7.0
"""Inches up to which two figures stand side by side."""


@dataclass
class Book:
    """A report that is being written.

    Attributes:
        frame: A row a run, as `label_runs` returns them.
        drops: Runs whose supernet was discretised, by metric.
        spectra: A row an eigenvalue of a run.
        folder: Folder of all its files.
        style: Colours of the methods.
        folders: Names of the run folders.
        problems: Files that could not be read.
        paths: Files written.
    """

    frame: pd.DataFrame
    drops: list[Drops]
    spectra: pd.DataFrame
    folder: Path
    style: Style
    folders: Folders
    problems: Problems = field(default_factory=Problems)
    paths: list[Path] = field(default_factory=list)

    def picture(self, figure: Figure | None, name: str, caption: str) -> list[Picture]:
        """Write a figure, if there is one; one with several panels in a row takes the whole width of the page."""
        if figure is None:
            return []
        svg, png = save(figure, self.folder / "figures", name)
        self.paths += [svg, png]
        return [Picture(svg, caption, figure.get_figwidth() > HALF)]

    def sheet(self, sheet: Sheet | None) -> list[Sheet]:
        """Write a table of formatted cells, if there is one."""
        if sheet is None:
            return []
        (self.folder / "tables").mkdir(parents=True, exist_ok=True)
        self.paths += write_sheet(sheet, self.folder / "tables")
        return [sheet]

    def values(self, rows: pd.DataFrame, name: str) -> None:
        """Write the values behind a figure as CSV, unrounded; an empty cell is a value that is not known."""
        if rows.empty:
            return
        path = self.folder / "tables" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        known = rows.astype(object).where(rows.notna(), None)
        tables.write(path, (dict(zip(rows.columns, row, strict=True)) for row in known.to_numpy()))
        self.paths.append(path)
