"""The first sections of a report: how good the methods are, at what price, how they learnt, and which runs say so."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd

from nas_lightning.reports import accuracy, learning, tradeoffs
from nas_lightning.reports.book import Book
from nas_lightning.reports.page import Section
from nas_lightning.reports.records import EVALUATION_SETTING, gather, settings
from nas_lightning.reports.sheets import Sheet, millions, number
from nas_lightning.runs import layout

MAX_SETTINGS = 4
"""Settings that are drawn, those with the most runs."""

_NOTE = (
    "One row a run. The folder is relative to the working folder, or else to the folder that all runs share; search s"
    " is the time of the search without the measurement of curvature."
)


def judged(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the title and the runs with a test accuracy of each setting, the setting with the most runs first."""
    return settings(frame[frame["test_accuracy"].notna()], EVALUATION_SETTING, len(frame))


def answers(frame: pd.DataFrame) -> list[str]:
    """Return a sentence for each setting that is drawn, as `label_runs` returns the runs."""
    return [accuracy.answer(rows, title) for title, rows in judged(frame)[:MAX_SETTINGS]]


def sections(book: Book) -> Iterator[Section]:
    """Yield the sections on accuracy, on its price, on learning, and on single runs."""
    parts = judged(book.frame)
    yield _accuracy(book, parts)
    pictures = []
    for index, (title, rows) in enumerate(parts[:MAX_SETTINGS]):
        for price in tradeoffs.PRICES:
            caption = (
                f"Test accuracy against {price.title}, {title}: a small mark is a run, the large one the mean of its"
                f" method; at most {tradeoffs.MAX_NAMES} methods, the best."
            )
            figure = tradeoffs.draw_tradeoff(rows, price, title, book.style)
            pictures += book.picture(figure, f"accuracy_{price.name}_{index + 1}", caption)
    yield Section("tradeoffs", "Accuracy against parameters and search cost", pictures=pictures)
    yield _learning(book)
    yield Section("runs", "Runs", sheets=book.sheet(runs(book)))


def _accuracy(book: Book, parts: list[tuple[str, pd.DataFrame]]) -> Section:
    left_out = f" {len(parts) - MAX_SETTINGS} more settings, with fewer runs, are not drawn."
    pictures = []
    for index, (title, rows) in enumerate(parts[:MAX_SETTINGS]):
        if len(rows) < 2:
            continue
        caption = (
            f"Test accuracy by method, {title}: a dot is a seed, the bar the mean; at most {accuracy.MAX_ROWS} methods,"
            f" the best.{left_out if len(parts) > MAX_SETTINGS else ''}"
        )
        figure = accuracy.draw_accuracy(rows, title, book.style)
        pictures += book.picture(figure, f"accuracy_{index + 1}", caption)
    return Section("accuracy", "Test accuracy by method", pictures=pictures)


def _learning(book: Book) -> Section:
    columns = [curve.column for curve in learning.CURVES]
    rows = gather(book.frame, layout.METRICS, ("epoch",), book.problems, ("phase",), ("attempt", *columns))
    more = ["name", *(name for name in EVALUATION_SETTING if name not in rows)]
    rows = rows.merge(book.frame[["run", *more]], on="run", how="left")
    pictures = []
    for index, (title, same) in enumerate(settings(rows, EVALUATION_SETTING, MAX_SETTINGS)):
        for curve in learning.CURVES:
            caption = (
                f"{curve.title}, {title}: a thin line is a run, the thick one the mean of its method while all of its"
                f" runs are measured; at most {learning.MAX_NAMES} methods, those with the best last value. Of long"
                " trainings, the scale leaves out the first fifth."
            )
            figure = learning.draw_learning(same, curve, title, book.style)
            pictures += book.picture(figure, f"learning_{curve.phase}_{index + 1}", caption)
    return Section("learning", "Learning curves", pictures=pictures)


def runs(book: Book) -> Sheet:
    """Tabulate single runs: accuracy, seed, size, cost and folder, in the order of the results."""
    two, one = partial(number, decimals=2), partial(number, decimals=1)
    frame = book.frame.sort_values(["group", "seed", "run"], kind="stable")
    lines = [
        [
            str(row["name"]),
            number(row["seed"], 0),
            two(row["test_accuracy"]),
            two(row["search_val_accuracy"]),
            millions(row["params"] / 1e6),
            one(row["search_seconds"]),
            *("–" if pd.isna(row[name]) else str(row[name]) for name in ("space", "data", "recipe")),
            book.folders.name(str(row["run"])),
        ]
        for row in frame.to_dict("records")
    ]
    header = ["method", "seed", "test %", "search val %", "params M", "search s", "space", "data", "recipe", "folder"]
    words = ("method", "space", "data", "recipe", "folder")
    return Sheet("runs", "Runs", header, lines, words, _NOTE, ("method", "seed", "test %"))
