"""The first sections of a report: accuracy by method, its price, learning curves, single runs."""

import json
import math
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nas_lightning.reports import collect, summarise
from nas_lightning.reports.accuracy import answer, draw_accuracy
from nas_lightning.reports.answers import answers, judged, runs
from nas_lightning.reports.book import Book
from nas_lightning.reports.folders import Folders
from nas_lightning.reports.groups import by_mean, label_runs, seeds_text
from nas_lightning.reports.learning import CURVES, draw_learning
from nas_lightning.reports.style import Style
from nas_lightning.reports.tradeoffs import PRICES, draw_tradeoff, pareto_front
from reported import report_run

DARTS, DRNAS = (91.0, 93.0, 92.0), (95.0, 96.0)


@pytest.fixture
def frame(tmp_path):
    """Two methods; a table says what random search would find, and one value is published."""
    for seed, accuracy in enumerate(DARTS):
        report_run(tmp_path / f"darts{seed}", accuracy, seed=seed)
    for seed, accuracy in enumerate(DRNAS):
        report_run(tmp_path / f"drnas{seed}", accuracy, method="drnas", seed=seed + 5)
    found = collect(str(tmp_path)).assign(random_search_accuracy=94.25, random_baseline=90.5, random_baseline_std=0.75)
    summary = summarise(found)
    summary.loc[summary["method"] == "drnas", "published"] = 97.5
    return label_runs(found, summary)


def style(frame):
    return Style(frame["name"])


def lines_at(axes, place):
    """The lines of a row of the figure, by their heights."""
    return [line for line in axes.lines if len(y := line.get_ydata()) and max(abs(np.asarray(y) - place)) < 0.4]


def test_a_dot_a_seed_the_mean_and_what_it_is_compared_with(frame):
    ((title, rows),) = judged(frame)
    figure = draw_accuracy(rows, title, style(frame))
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["drnas (n = 2)", "darts (n = 3)"]  # the best first
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # downwards
    for place, values in enumerate((DRNAS, DARTS)):
        dots, mean, *published = lines_at(axes, place)
        assert list(dots.get_xdata()) == list(values)  # by seed
        assert len(set(dots.get_ydata())) == len(values)  # no dot hides another
        assert list(mean.get_xdata()) == pytest.approx([statistics.mean(values)] * 2)
        assert [line.get_xdata()[0] for line in published] == ([97.5] if place == 0 else [])
    levels = {
        line.get_linestyle(): list(line.get_xdata()) for line in axes.lines if line.get_linestyle() in ("--", ":")
    }
    assert levels == {"--": [94.25] * 2, ":": [90.5] * 2}
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [
        "a seed",
        "mean",
        "published",
        "random genotypes: 90.50 ± 0.75 %",
        "random search, expected: 94.25 %",
    ]
    assert axes.get_xlabel() == "test accuracy (%)"
    assert figure.get_suptitle().splitlines()[1] == "s3 · digits · digits · 16/4/14, seeds 0–2, 5–6"


def test_the_mean_of_one_run_does_not_hide_it(frame):
    rows = frame[frame["run"].str.endswith("0")].assign(published=math.nan)  # one of each method
    (axes,) = draw_accuracy(rows, "s3", style(frame)).axes
    assert [[line.get_xdata().tolist() for line in lines_at(axes, place)] for place in (0, 1)] == [[[95.0]], [[91.0]]]


def test_nothing_is_compared_where_nothing_is_known(frame):
    rows = frame.assign(
        random_search_accuracy=math.nan, random=math.nan, published=math.nan, metric="balanced_accuracy"
    )
    figure = draw_accuracy(rows, "s3", style(frame))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a seed", "mean"]
    assert figure.axes[0].get_xlabel() == "test balanced accuracy (%)"
    assert not [line for line in figure.axes[0].lines if line.get_linestyle() in ("--", ":")]


def test_the_answer_in_words(frame):
    text = "s3 · digits · digits · 16/4/14: test accuracy 95.50 ± 0.71 % with drnas (n = 2), the best mean of 2"
    assert answers(frame) == [f"{text}; random genotypes have 90.50 %; random search is expected to find 94.25 %."]
    alone = frame[frame["method"] == "darts"].head(1).assign(random_search_accuracy=math.nan, random=math.nan)
    assert answer(alone, "s3") == "s3: test accuracy 91.00 % with darts (n = 1)."
    assert answers(frame.assign(test_accuracy=math.nan)) == []


def test_settings_are_not_mixed(tmp_path):
    for seed in range(2):
        report_run(tmp_path / f"a{seed}", 90.0, seed=seed)
        report_run(tmp_path / f"b{seed}", 80.0, seed=seed, space="s1")
    report_run(tmp_path / "c", 80.0, seed=2, space="s1")
    found = collect(str(tmp_path))
    frame = label_runs(found, summarise(found))
    assert [(title.split(" · ")[0], len(rows)) for title, rows in judged(frame)] == [("s1", 3), ("s3", 2)]


def test_variants_of_a_method_have_names_of_their_own(tmp_path):
    for index, rate in enumerate((0.1, 0.1, 0.2)):
        config = {"search": {"arch": {"lr": rate}}}
        report_run(tmp_path / str(index), 90.0 + index, seed=index, digest=str(rate), config=config)
    report_run(tmp_path / "old", 80.0, method="drnas", digest=None)
    found = collect(str(tmp_path))
    frame = label_runs(found, summarise(found)).set_index("seed", append=True)
    names = [name for _, name in sorted(zip(frame["run"], frame["name"], strict=True))]
    assert names == ["darts · search.arch.lr=0.1"] * 2 + ["darts · search.arch.lr=0.2", "drnas"]


def test_random_genotypes_are_those_trained_beside_a_run_else_those_of_its_table(tmp_path):
    for seed, evaluation in enumerate(({"random_accuracy": 88.0}, {"random_baseline": {"mean": 89.0, "std": 0.5}}, {})):
        run = report_run(tmp_path / str(seed), 90.0, seed=seed)
        content = json.loads((run / "summary.json").read_text())
        content["evaluation"] |= evaluation
        (run / "summary.json").write_text(json.dumps(content))
    found = collect(str(tmp_path))
    frame = label_runs(found, summarise(found)).sort_values("seed")
    assert frame["random"].fillna(0).tolist() == [88.0, 89.0, 0.0]
    assert frame["random_std"].fillna(0).tolist() == [0.0, 0.5, 0.0]


def test_means_are_ranked_and_missing_ones_last():
    rows = pd.DataFrame({"name": ["a", "b", "b", "c"], "test_accuracy": [1.0, 5.0, 3.0, math.nan]})
    assert [name for name, _ in by_mean(rows)] == ["b", "a", "c"]


def test_prices_are_those_of_the_runs(frame):
    frame = frame.assign(params=[2e6, 3e6, 4e6, 1e6, 5e6], search_seconds=3600.0, selection_seconds=np.nan)
    frame["macs"] = 100 * frame["params"]
    rows = frame.assign(cost=frame["search_seconds"])
    parameters, macs, cost = (draw_tradeoff(rows, price, "s3", style(frame)) for price in PRICES)
    *marks, front = parameters.axes[0].lines
    points = {len(line.get_xdata()): line.get_xydata().tolist() for line in marks[::2]}
    assert points == {2: [[1.0, 95.0], [5.0, 96.0]], 3: [[2.0, 91.0], [3.0, 93.0], [4.0, 92.0]]}
    assert front.get_xydata().tolist() == [[1.0, 95.0], [5.0, 96.0]]
    assert macs.axes[0].get_xlabel() == "multiply-accumulates (millions)"
    assert macs.axes[0].lines[-1].get_xydata().tolist() == [[100.0, 95.0], [500.0, 96.0]]
    means = [line.get_xydata().tolist() for line in marks[1::2]]
    assert means == [[[3.0, 95.5]], [[3.0, 92.0]]]
    assert parameters.axes[0].get_xlabel() == "parameters (millions)"
    assert cost.axes[0].get_xlabel() == "search and selection (minutes)"
    assert cost.axes[0].lines[0].get_xdata().tolist() == [60.0, 60.0]
    assert draw_tradeoff(rows.assign(cost=math.nan), PRICES[-1], "s3", style(frame)) is None
    wide = rows.assign(cost=[1.0, 2.0, 3.0, 4.0, 400.0])
    assert draw_tradeoff(wide, PRICES[-1], "s3", style(frame)).axes[0].get_xscale() == "log"


def test_the_front_is_what_nothing_beats_in_both():
    rng = np.random.default_rng(0)
    for size in (1, 2, 40):
        prices, values = rng.integers(1, 12, (2, size)).tolist()
        points = list(zip(prices, values, strict=True))
        plain = {
            (price, value)
            for price, value in points
            if not any(p <= price and v >= value and (p, v) != (price, value) for p, v in points)
        }
        front = pareto_front(prices, values)
        assert [points[place] for place in front] == sorted(plain)


def test_cost_is_search_and_selection(tmp_path):
    report_run(tmp_path / "a", 90.0)  # 100 s of search and 5 s of selection, of which 20 s are no cost of the search
    report_run(tmp_path / "b", 90.0, seed=1, selection=None)
    found = collect(str(tmp_path))
    assert sorted(label_runs(found, summarise(found))["cost"]) == [100.0, 105.0]


def learning_rows():
    rows = [
        {"run": f"{name}{seed}", "name": name, "seed": seed, "phase": phase, "epoch": epoch, "attempt": 0.0,
         "val_accuracy": value + epoch + seed if phase == "search" else math.nan,
         "test_accuracy": math.nan if phase == "search" else 50.0 + value}
        for name, value, seeds, last in (("darts", 10.0, 2, 3), ("drnas", 20.0, 1, 2))
        for seed in range(seeds) for epoch in range(last + seed) for phase in ("search", "evaluation")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_learning_curves_are_lines_of_runs_and_their_mean():
    rows = learning_rows()
    search, evaluation = (draw_learning(rows, curve, "s3", Style(rows["name"])) for curve in CURVES)
    thick = [line.get_xydata().tolist() for line in search.axes[0].lines if line.get_linewidth() == 1.8]
    assert thick == [
        [[1, 20], [2, 21]],
        [[1, 10.5], [2, 11.5], [3, 12.5]],
    ]  # epochs from one; seed 1 alone has a fourth
    thin = [line for line in search.axes[0].lines if line.get_linewidth() == 0.7]
    assert [len(line.get_xdata()) for line in thin] == [2, 3, 4]
    assert [text.get_text() for text in search.legends[0].get_texts()] == ["drnas", "darts"]
    assert search.get_suptitle().endswith("s3, seeds 0–1")
    assert evaluation.axes[0].lines[-1].get_ydata().tolist() == [60.0] * 3
    assert draw_learning(rows[rows["phase"] == "search"], CURVES[1], "s3", Style(rows["name"])) is None


def test_first_epochs_do_not_flatten_the_others():
    values = [10.0, 50.0, 80.0, 85.0, *(90.0 + epoch / 10 for epoch in range(16))]
    rows = pd.DataFrame({"run": "a", "name": "darts", "seed": 0, "phase": "search", "epoch": range(20), "attempt": 0.0})
    for count, bottom in ((20, 90.0), (19, 10.0)):
        same = rows.assign(val_accuracy=values, test_accuracy=math.nan).head(count)
        axes = draw_learning(same, CURVES[0], "s3", Style(["darts"])).axes[0]
        low, high = axes.get_ylim()
        assert bottom - 5 < low < bottom
        assert high > 91.3


def test_no_learning_curve_goes_on_after_a_rollback():
    rows = learning_rows().query("run == 'darts0'").assign(attempt=[0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    axes = draw_learning(rows, CURVES[0], "s3", Style(["darts"])).axes[0]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 0.7] == [[1, 2], [3]]


def test_runs_have_their_seed_and_a_relative_folder(frame, tmp_path):
    nothing = frame.iloc[:0]
    book = Book(frame, nothing, nothing, tmp_path / "report", style(frame), Folders(frame["run"]))
    sheet = runs(book)
    cells = [
        [line[sheet.header.index(name)] for name in ("method", "seed", "test %", "folder")] for line in sheet.lines
    ]
    assert cells == [
        ["drnas", "5", "95.00", "drnas0"],
        ["drnas", "6", "96.00", "drnas1"],
        ["darts", "0", "91.00", "darts0"],
        ["darts", "1", "93.00", "darts1"],
        ["darts", "2", "92.00", "darts2"],
    ]
    assert sheet.header[sheet.header.index("params M")] == "params M"
    assert sheet.lines[0][sheet.header.index("params M")] == "0.20"


def test_pictures_and_sheets_are_written_where_there_are_any(frame, tmp_path):
    book = Book(frame, frame, frame, tmp_path / "report", style(frame), Folders(frame["run"]))
    assert (book.picture(None, "x", ""), book.sheet(None), book.paths) == ([], [], [])
    (picture,) = book.picture(draw_accuracy(frame, "s3", style(frame)), "accuracy", "a caption")
    assert (picture.caption, picture.broad) == ("a caption", False)
    (sheet,) = book.sheet(runs(book))
    assert sheet.name == "runs"
    assert [path.name for path in book.paths] == ["accuracy.svg", "accuracy.png", "runs.md", "runs.csv", "runs.tex"]
    assert all(path.is_file() for path in book.paths)


@pytest.mark.parametrize(
    ("seeds", "text"),
    [([3], "seed 3"), ([1, 0, 0], "seeds 0–1"), ([0, 2, 3, 9], "seeds 0, 2–3, 9"), ([math.nan], "")],
)
def test_seeds_in_words(seeds, text):
    assert seeds_text(pd.DataFrame({"seed": seeds})) == text
    assert seeds_text(pd.DataFrame({"run": seeds})) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/w/multirun/a/x", "multirun/a/x"),
        ("[Errno 21] Is a directory: '/home/me/w/multirun/a/metrics.csv'", None),
        ("cannot read /data/a b/c", "cannot read …/a b/c"),
        ("data.path=/mnt/photos/x", "data.path=…/x"),
        ("runs='/srv/runs/**'", "runs='…/**'"),
        ("16/4/14, a/b, </b>, https://a.b/c/d, ~/x/y, ./x/y, ../x/y", None),
    ],
)
def test_absolute_paths_are_shortened(text, shown):
    folders = Folders(["/home/me/w/multirun/a", "/home/me/w/outputs/b/c"], Path("/home/me/w"))
    assert folders.hide(text) == (text.replace("/home/me/w/", "") if shown is None else shown)


def test_folders_are_relative_to_the_working_folder_or_to_what_they_share():
    runs = ["/data/sweeps/s/a", "/data/sweeps/t/u/b"]
    assert [Folders(runs, Path("/data")).name(run) for run in runs] == ["sweeps/s/a", "sweeps/t/u/b"]
    elsewhere = Folders(runs, Path("/home/me"))
    assert [elsewhere.name(run) for run in runs] == ["s/a", "t/u/b"]
    assert elsewhere.name("/tmp/other/run") == "…/run"
    assert Folders(["/data/a"], Path("/home")).name("/data/a") == "a"
    assert Folders([]).name("a/b") == "a/b"
