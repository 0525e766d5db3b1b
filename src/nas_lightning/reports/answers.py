"""The first sections of a report: how good the methods are, at what price, how they learnt, and which runs say so."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd

from nas_lightning.reports import accuracy, budget_figures, budgets, learning, tradeoffs
from nas_lightning.reports.book import Book
from nas_lightning.reports.goals import (
    accuracies_only,
    goal_of,
    goal_of_row,
    goals_of,
    heading,
    is_tested,
    shared_name,
    value_heading,
    value_text,
)
from nas_lightning.reports.groups import setting_text
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
    """Return title and runs with a value on the test images of each setting, the setting with the most runs first."""
    return settings(frame[is_tested(frame)], EVALUATION_SETTING, len(frame))


def answers(frame: pd.DataFrame) -> list[str]:
    """Return a sentence for each setting that is drawn, as `label_runs` returns the runs."""
    return [accuracy.answer(rows, title) for title, rows in judged(frame)[:MAX_SETTINGS]]


def sections(book: Book) -> Iterator[Section]:
    """Yield the sections on accuracy or another metric, on its cost and price, on learning, and on single runs."""
    parts = judged(book.frame)
    yield _accuracy(book, parts)
    yield _budgets(book, parts)
    pictures = []
    for index, (title, rows) in enumerate(parts[:MAX_SETTINGS]):
        goal = goal_of(rows)
        for price in tradeoffs.PRICES:
            caption = (
                f"Test {goal.name} against {price.title}, {title}: a small mark is a run, the large one the mean of its"
                f" method; at most {tradeoffs.MAX_NAMES} methods, the best. The dotted line is the Pareto front:"
                " no other of these runs is as good for less."
            )
            figure = tradeoffs.draw_tradeoff(rows, price, title, book.style)
            pictures += book.picture(figure, f"{goal.word}_{price.name}_{index + 1}", caption)
    name = shared_name(goals_of(book.frame))
    what = f"{name[0].upper()}{name[1:]} against parameters, multiply-accumulates and search cost"
    yield Section("tradeoffs", what, pictures=pictures)
    yield _learning(book)
    yield Section("runs", "Runs", sheets=book.sheet(runs(book)))


def _accuracy(book: Book, parts: list[tuple[str, pd.DataFrame]]) -> Section:
    left_out = f" {len(parts) - MAX_SETTINGS} more settings, with fewer runs, are not drawn."
    pictures = []
    for index, (title, rows) in enumerate(parts[:MAX_SETTINGS]):
        if len(rows) < 2:
            continue
        goal = goal_of(rows)
        direction = " Smaller is better." if goal.direction == "min" else ""
        caption = (
            f"Test {goal.name} by method, {title}: a dot is a seed, the bar the mean; at most {accuracy.MAX_ROWS}"
            f" methods, the best.{direction}{left_out if len(parts) > MAX_SETTINGS else ''}"
        )
        figure = accuracy.draw_accuracy(rows, title, book.style)
        pictures += book.picture(figure, f"{goal.word}_{index + 1}", caption)
    goals = goals_of(book.frame)
    anchor = "accuracy" if any(goal.word == "accuracy" for goal in goals) else "metric"
    return Section(anchor, f"Test {shared_name(goals)} by method", pictures=pictures)


def _budgets(book: Book, parts: list[tuple[str, pd.DataFrame]]) -> Section:
    """Return the section that compares methods with each other and with random search at equal cost."""
    pictures, answered = [], []
    for index, (title, rows) in enumerate(parts[:MAX_SETTINGS]):
        goal = goal_of(rows)
        found = budgets.budgets(rows, goal, book.problems)
        answered.append((title, rows, goal, found))
        figure = budget_figures.draw_budgets(found, goal, book.style, setting_text(title, rows))
        if figure is None:
            continue
        drawn = (
            " The dashed line is the exact expectation of random search, which draws without replacement and chooses by"
            " the cheapest accuracy on val."
        )
        value = "Regret" if budget_figures.column_of(found) == "regret" else f"Test {goal.name}"
        caption = (
            f"{value} against cost, {title}. Images: those that training steps read, each batch once a step however"
            " many passes it makes, without evaluations on val; an entry of a table costs its epochs times its training"
            " images. Seconds: of search, selection and candidates; what looks candidates up in a table, or measures"
            " them in the supernet of another run, has no seconds that compare and is left out there. A small mark is a"
            " run and a large one a mean; a stepped line is the best so far of a pool, mean ± one standard deviation"
            f" over runs. At most {budget_figures.MAX_NAMES} methods, the best."
            f"{drawn if (found['kind'] == budgets.RANDOM).any() else ''}"
        )
        book.values(budgets.means(found), f"budget_{index + 1}")
        pictures += book.picture(figure, f"budget_{index + 1}", caption)
    return Section("budgets", "At equal cost", sheets=book.sheet(budgets.answer(answered)), pictures=pictures)


def _learning(book: Book) -> Section:
    goals = goals_of(book.frame)
    columns = list(dict.fromkeys(curve.column for goal in goals for curve in learning.curves(goal)))
    rows = gather(book.frame, layout.METRICS, ("epoch",), book.problems, ("phase",), ("attempt", *columns))
    more = ["name", *(name for name in EVALUATION_SETTING if name not in rows)]
    rows = rows.merge(book.frame[["run", *more]], on="run", how="left")
    pictures = []
    for index, (title, same) in enumerate(settings(rows, EVALUATION_SETTING, MAX_SETTINGS)):
        goal = goal_of(same)
        beyond = "below" if goal.direction == "max" else "above"
        cut = f" From {learning.LONG} epochs on, the first fifth of them may be {beyond} the scale."
        for curve in learning.curves(goal):
            length = same.loc[same["phase"] == curve.phase, "epoch"].max() + 1
            caption = (
                f"{curve.title}, {title}: a thin line is a run, the thick one the mean of its method while all of its"
                f" runs are measured; at most {learning.MAX_NAMES} methods, those with the best last value."
            )
            caption += cut if length >= learning.LONG else ""
            figure = learning.draw_learning(same, curve, title, book.style)
            pictures += book.picture(figure, f"learning_{curve.phase}_{index + 1}", caption)
    return Section("learning", "Learning curves", pictures=pictures)


def runs(book: Book) -> Sheet:
    """Tabulate single runs: accuracy or another metric, seed, size, cost and folder, in the order of the results."""
    one = partial(number, decimals=1)
    frame = book.frame.sort_values(["group", "seed", "run"], kind="stable")
    goals = goals_of(frame)
    mixed = len(goals) > 1 and not accuracies_only(goals)
    lines = [
        [
            str(row["name"]),
            number(row["seed"], 0),
            *([goal.axis(goal.name)] if mixed else ()),
            value_text(goal, row[goal.key("test")]),
            value_text(goal, row[f"search_{goal.key('val')}"]),
            millions(row["params"] / 1e6),
            one(row["search_seconds"]),
            *("–" if pd.isna(row[name]) else str(row[name]) for name in ("space", "data", "recipe")),
            book.folders.name(str(row["run"])),
        ]
        for row in frame.to_dict("records")
        for goal in [goal_of_row(row)]
    ]
    test = value_heading(goals)
    header = ["method", "seed", *(["metric"] if mixed else ()), test, heading("search val", goals)]
    header += ["params M", "search s", "space", "data", "recipe", "folder"]
    words = ("method", "metric", "space", "data", "recipe", "folder")
    return Sheet("runs", "Runs", header, lines, words, _NOTE, ("method", "seed", *(["metric"] if mixed else ()), test))
