"""Format a table of a report as text: Markdown, CSV, LaTeX and HTML of the same cells.

Every cell may come from a run folder, so each format escapes its special characters.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nas_lightning.runs.files import write_text

ABSENT = "–"
"""The sign for a missing value."""

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\to$",
    "ρ": r"$\rho$",
    "α": r"$\alpha$",
    "–": "--",
    "·": r"$\cdot$",
    "…": r"\dots{}",
}


@dataclass(frozen=True)
class Sheet:
    """A table of formatted cells.

    Args:
        name: Of its files and its anchor, letters and dashes.
        title: Its heading.
        header: Titles of the columns.
        lines: Rows of cells, each as long as the header.
        words: Titles of the columns that hold words; the others hold numbers and are aligned to the right.
        note: How to read it.
        lead: Titles of the columns that answer the question: first on a page, and never in its caption.
    """

    name: str
    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    words: Sequence[str] = ()
    note: str = ""
    lead: Sequence[str] = ()

    def __post_init__(self) -> None:
        assert all(len(line) == len(self.header) for line in self.lines)


def number(value: Any, decimals: int = 2) -> str:
    """Format a number with so many decimals; a dash where there is none."""
    return ABSENT if value is None or pd.isna(value) else f"{value:.{decimals}f}"


def millions(value: Any) -> str:
    """Format a number of millions with two decimals, or with four where these would leave next to nothing.

    >>> millions(3.3015), millions(0.0041)
    ('3.30', '0.0041')
    """
    return number(value, 4 if pd.notna(value) and abs(value) < 0.1 else 2)


def markdown(sheet: Sheet) -> str:
    """Format as a pipe table."""
    rule = ["---" if name in sheet.words else "---:" for name in sheet.header]
    table = [[_plain(cell).replace("|", r"\|") for cell in line] for line in (sheet.header, rule, *sheet.lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in table)


def comma_separated(sheet: Sheet) -> str:
    """Format as CSV; a cell that a spreadsheet would take for a formula gets a leading apostrophe."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_harmless(cell) for cell in line] for line in (sheet.header, *sheet.lines))
    return text.getvalue()


def latex(sheet: Sheet) -> str:
    """Format as a `tabular` with the rules of the package booktabs, for any engine."""
    columns = "".join("l" if name in sheet.words else "r" for name in sheet.header)
    header, *lines = [" & ".join(escape_latex(cell) for cell in line) for line in (sheet.header, *sheet.lines)]
    body = "".join(f"  {line} \\\\\n" for line in lines)
    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{{columns}}}\n  \\toprule\n  {header} \\\\\n  \\midrule\n{body}  \\bottomrule\n"
        "\\end{tabular}\n"
    )


def escape_latex(text: str) -> str:
    r"""Escape text so that LaTeX prints it literally.

    >>> escape_latex("50 % of a_b & $c")
    '50 \\% of a\\_b \\& \\$c'
    """
    return "".join(_LATEX.get(character, character) for character in _plain(text))


def fold(sheet: Sheet) -> tuple[Sheet, str]:
    """Make a table narrow: leading columns first, and what all rows share in a caption.

    Of a single row only words are folded. Columns without any value are left out.

    >>> narrow, caption = fold(Sheet("a", "A", ["space", "n", "%"], [["s3", "2", "9"], ["s3", "2", "8"]], lead=["%"]))
    >>> narrow.header, narrow.lines, caption
    (['%'], [['9'], ['8']], 'The same in all rows: space s3 · n 2.')
    """
    place = {title: index for index, title in enumerate(sheet.lead)}
    order = sorted(range(len(sheet.header)), key=lambda index: place.get(sheet.header[index], len(place)))
    kept, facts = [], []
    for index in order:
        title, values = sheet.header[index], {line[index] for line in sheet.lines}
        foldable = len(sheet.lines) > 1 or title in sheet.words
        if title in sheet.lead or len(values) > 1 or not foldable:
            kept.append(index)
        elif values - {ABSENT, ""}:
            facts.append(f"{title} {values.pop()}")
    kept = kept or order  # rows that are all equal still are rows
    header, *lines = [[line[index] for index in kept] for line in (sheet.header, *sheet.lines)]
    narrow = replace(sheet, header=header, lines=lines)
    shared = " · ".join(facts)
    if not facts or len(kept) == len(order):
        return narrow, ""
    return narrow, f"The same in all rows: {shared}." if len(lines) > 1 else f"{shared[0].upper()}{shared[1:]}."


def as_html(sheet: Sheet) -> str:
    """Format as a caption and a `table` whose header cells are buttons; `page` has the script that sorts by them."""
    sheet, caption = fold(sheet)
    kinds = ["" if name in sheet.words else ' class="number"' for name in sheet.header]
    head = "".join(
        f'<th scope="col"{kind}><button type="button">{html.escape(_plain(name))}</button></th>'
        for name, kind in zip(sheet.header, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{html.escape(_plain(cell))}</td>" for cell, kind in zip(line, kinds, strict=True))
        + "</tr>\n"
        for line in sheet.lines
    )
    shared = f'<p class="shared">{html.escape(_plain(caption))}</p>\n' if caption else ""
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
    return f'{shared}<div class="wide">{table}</div>\n'


def write_sheet(sheet: Sheet, folder: Path) -> list[Path]:
    """Write `<name>.md`, `<name>.csv` and `<name>.tex`; return the paths."""
    forms = {"md": markdown, "csv": comma_separated, "tex": latex}
    paths = [folder / f"{sheet.name}.{ending}" for ending in forms]
    for path, form in zip(paths, forms.values(), strict=True):
        write_text(path, form(sheet))
    return paths


def _plain(text: str) -> str:
    """Return the text as one line of printable characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in _line(text))


def _line(text: str) -> str:
    return " ".join(text.split())


def _harmless(cell: str) -> str:
    text = _plain(cell)
    is_formula = text[:1] in ("=", "+", "-", "@") and not re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", text)
    return f"'{text}" if is_formula else text
