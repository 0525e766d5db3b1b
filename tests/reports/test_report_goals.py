"""Reports of runs whose metric is no accuracy: smaller is better, it has a unit, and nothing is called accuracy."""

import csv
import io
import json
import logging
import re
import statistics

import pandas as pd
import pytest

from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports import collect, comparison, save_curves, show, summarise, write_report
from nas_lightning.reports.accuracy import answer, draw_accuracy
from nas_lightning.reports.answers import answers, judged, runs
from nas_lightning.reports.book import Book
from nas_lightning.reports.folders import Folders
from nas_lightning.reports.goals import goal_of, goals_of
from nas_lightning.reports.groups import by_mean, label_runs
from nas_lightning.reports.learning import curves, draw_learning
from nas_lightning.reports.outcome import show_outcome
from nas_lightning.reports.published import compare
from nas_lightning.reports.readings import readings_table
from nas_lightning.reports.report import best_runs
from nas_lightning.reports.style import Style
from nas_lightning.reports.tables import results
from nas_lightning.reports.tradeoffs import PRICES, draw_tradeoff
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task
from reported import report_run, write_table

ERROR = Goal("mean_absolute_error", "years", "min")
VALUES = {"darts": (0.5, 0.75, 0.61), "drnas": (0.25, 0.5, 0.3)}  # by seed; drnas is better
BASELINE = {"number": 2, "mean": 0.9, "std": 0.125, "members": [{"metric": 0.8}, {"metric": 1.0}]}
EPOCHS = (9.0, 1.0, 0.5)  # an error by epoch
NAME = "test mean absolute error (years)"
HEADING = f"{NAME} ± std"


def write_runs(folder):
    for method, values in VALUES.items():
        for seed, value in enumerate(values):
            run = report_run(folder / f"{method}{seed}", value, goal=ERROR, method=method, seed=seed, val=value / 2)
            summary = json.loads((run / "summary.json").read_text())
            summary["evaluation"]["random_baseline"] = BASELINE
            (run / "summary.json").write_text(json.dumps(summary))
            rows = [
                {"phase": "search", "epoch": epoch, "attempt": 0, "val_metric": error + value, "test_metric": ""}
                for epoch, error in enumerate(EPOCHS)
            ]
            tested = {"phase": "evaluation", "epoch": 0, "attempt": 0, "val_metric": "", "test_metric": value}
            write_table(run / "metrics.csv", [*rows, tested])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs that minimise an error."""
    made = tmp_path_factory.mktemp("errors")
    write_runs(made)
    return made


@pytest.fixture(scope="module")
def frame(folder):
    found = collect(str(folder))
    return label_runs(found, summarise(found))


@pytest.fixture(scope="module")
def mixed(folder, tmp_path_factory):
    """The same beside two runs that report accuracies."""
    other = tmp_path_factory.mktemp("accuracies")
    for seed, value in enumerate((90.0, 92.0)):
        report_run(other / f"darts{seed}", value, seed=seed)
    found = collect([str(folder), str(other)])
    return label_runs(found, summarise(found))


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    """Folder of the whole report, with the comparison."""
    made = tmp_path_factory.mktemp("report")
    compared = comparison.compare(collect(str(folder)), "darts")
    write_report(str(folder), made, lambda _: {}, lambda _: {}, comparison.sheet(compared))
    return made


def cells(sheet, column):
    return [line[sheet.header.index(column)] for line in sheet.lines]


def page_text(page):
    """Text and captions of a page without its figures, and the texts of the figures."""
    text = (page / "report.html").read_text()
    figures = [file.read_text() for file in sorted((page / "figures").glob("*.svg"))]
    return re.sub(r'src="data[^"]*"', "", text), figures


def test_values_stand_in_columns_of_their_own(frame):
    assert frame["test_accuracy"].isna().all()
    assert frame["search_val_accuracy"].isna().all()
    assert sorted(frame["test_metric"]) == sorted(value for values in VALUES.values() for value in values)
    assert (frame["search_val_metric"] == frame["test_metric"] / 2).all()
    assert goals_of(frame) == [ERROR]
    assert goal_of(frame) == ERROR
    assert set(frame["random"]) == {0.9}


def test_values_under_the_keys_of_accuracy_are_accuracies(tmp_path):
    """Whatever a summary of another program says of its unit."""
    report_run(tmp_path / "a", 90.0)
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    for said in ({"metric": "accuracy", "unit": "percent", "direction": "max"}, None):
        (tmp_path / "a" / "summary.json").write_text(json.dumps(summary | {"objective": said}))
        assert goal_of(collect(str(tmp_path))) == ACCURACY


def test_the_best_is_the_smallest_and_stands_first(frame):
    summary = summarise(frame)
    assert list(summary["method"]) == ["drnas", "darts"]
    for row in summary.to_dict("records"):
        values = VALUES[row["method"]]
        assert row["n"] == 3
        assert row["test_metric_mean"] == pytest.approx(statistics.mean(values))
        assert row["test_metric_std"] == pytest.approx(statistics.stdev(values))
        assert row["test_metric_median"] == pytest.approx(statistics.median(values))
        assert row["test_metric_best"] == min(values)
        assert row["search_val_metric_mean"] == pytest.approx(statistics.mean(values) / 2)
        assert pd.isna(row["test_accuracy_mean"])


def test_where_larger_is_better_the_best_is_the_largest(frame):
    rising = frame.assign(direction="max", metric="correlation", unit="")
    summary = summarise(rising)
    assert list(summary["method"]) == ["darts", "drnas"]
    assert list(summary["test_metric_best"]) == [max(VALUES["darts"]), max(VALUES["drnas"])]
    assert [name for name, _ in by_mean(rising, goal_of(rising))] == ["darts", "drnas"]
    assert ", the best mean of 2;" in answer(rising, "s3")


def test_the_table_says_metric_and_unit(frame):
    summary = summarise(frame)
    sheet = results(summary)
    means = {name: f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.2g}" for name, values in VALUES.items()}
    assert cells(sheet, "method") == ["drnas", "darts"]
    assert cells(sheet, HEADING) == [means["drnas"], means["darts"]]
    assert cells(sheet, "best") == ["0.2500", "0.5000"]
    assert cells(sheet, "random (years) ± std") == ["0.9000 ± 0.12"] * 2
    assert sheet.lead[1] == HEADING
    assert "Best is the smallest" in sheet.note
    assert "Random is the mean absolute error of" in sheet.note
    out = io.StringIO()
    show(summary, out)
    for text in (*means.values(), "mean absolute error (years)", "metric mean_absolute_error"):
        assert text in out.getvalue()
    assert "accuracy" not in "".join([*sheet.header, sheet.note, out.getvalue()])


def test_the_sentence_says_that_smaller_is_better(frame):
    mean, std = statistics.mean(VALUES["drnas"]), statistics.stdev(VALUES["drnas"])
    assert answers(frame) == [
        "s3 · digits · digits · 16/4/14 · mean_absolute_error (years): test mean absolute error"
        f" {mean:.4f} ± {std:.2g} years with drnas (n = 3), the best mean of 2, smaller is better;"
        " random genotypes have 0.9000 years."
    ]


def test_figures_show_the_metric_in_its_unit(frame):
    ((title, rows),) = judged(frame)
    style = Style(rows["name"])
    figure = draw_accuracy(rows, title, style)
    (axes,) = figure.axes
    assert figure.get_suptitle().splitlines()[0] == "Test mean absolute error by method"
    assert axes.get_xlabel() == NAME
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["drnas (n = 3)", "darts (n = 3)"]
    assert sorted(axes.lines[0].get_xdata()) == sorted(VALUES["drnas"])
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "random genotypes: 0.9000 ± 0.12 years"
    for price in PRICES:
        against = draw_tradeoff(rows, price, title, style)
        assert against.axes[0].get_ylabel() == NAME
        assert sorted(against.axes[0].lines[0].get_ydata()) == sorted(VALUES["drnas"])


def test_learning_curves_rank_the_smallest_first_and_cut_the_first_epochs():
    search = curves(ERROR)[0]
    assert (search.column, search.axis) == ("val_metric", "mean absolute error on val (years)")
    errors = [9.0, 5.0, 3.0, 2.0, *(1 - epoch / 100 for epoch in range(16))]
    rows = pd.DataFrame({"seed": 0, "phase": "search", "epoch": range(20), "attempt": 0.0})
    rows = pd.concat(
        [
            rows.assign(run=name, name=name, val_metric=[e + more for e in errors])
            for name, more in (("a", 0.5), ("b", 0))
        ]
    )
    figure = draw_learning(rows, search, "s3", Style(["a", "b"]))
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 1 - 15 / 100
    assert 1.5 < high < 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["b", "a"]
    assert figure.axes[0].get_ylabel() == search.axis


def test_single_runs_are_listed_with_the_unit(frame, tmp_path):
    book = Book(frame, [], frame.iloc[:0], tmp_path, Style(frame["name"]), Folders(frame["run"]))
    sheet = runs(book)
    assert sheet.header[:4] == ["method", "seed", NAME, "search val (years)"]
    assert cells(sheet, NAME) == ["0.2500", "0.5000", "0.3000", "0.5000", "0.7500", "0.6100"]


def test_the_best_run_has_the_smallest_value(frame):
    best = best_runs(frame)
    assert {row["method"]: row["test_metric"] for row in best.to_dict("records")} == {"drnas": 0.25, "darts": 0.5}
    assert list(best["method"]) == ["drnas", "darts"]


def test_differences_say_which_sign_is_better(folder, tmp_path):
    table = comparison.compare(collect(str(folder)), "darts")
    assert list(table["method"]) == ["drnas", "darts"]
    differences = [b - a for a, b in zip(VALUES["darts"], VALUES["drnas"], strict=True)]
    row = table.iloc[0]
    assert (row["value"], row["unit"], row["direction"], row["pairs"]) == ("test_metric", "years", "min", 3)
    assert row["difference_mean"] == pytest.approx(statistics.mean(differences))
    assert row["difference_std"] == pytest.approx(statistics.stdev(differences))
    assert "Differences are the method minus the baseline: a negative one is better." in comparison.note(table)
    sheet = comparison.sheet(table)
    assert HEADING in sheet.header
    assert cells(sheet, "difference ± std")[0].startswith("-0.2700 ± ")
    rising = comparison.compare(collect(str(folder)).assign(direction="max"), "darts")
    assert list(rising["method"]) == ["darts", "drnas"]
    assert "a positive one is better." in comparison.note(rising)
    rows = list(csv.DictReader(comparison.write(table, tmp_path)[1].read_text().splitlines()))
    assert float(rows[0]["difference_mean"]) == pytest.approx(statistics.mean(differences))


def test_two_metrics_are_two_settings(mixed):
    parts = judged(mixed)
    assert [(goal_of(rows), len(rows)) for _, rows in parts] == [(ERROR, 6), (ACCURACY, 2)]
    assert answers(mixed)[1].endswith("test accuracy 91.00 ± 1.41 % with darts (n = 2).")
    sheet = results(summarise(mixed))
    assert cells(sheet, "metric") == ["accuracy (%)", *["mean absolute error (years)"] * 2]
    assert [text.split()[0] for text in cells(sheet, "test ± std")] == ["91.00", "0.3500", "0.6200"]
    assert cells(sheet, "best") == ["92.00", "0.2500", "0.5000"]
    table = comparison.compare(mixed, "darts")
    assert dict(zip(comparison.sheet(table).header, comparison.sheet(table).lines[-1], strict=True))["of"] == (
        "test error"
    )
    assert sorted(set(table["value"])) == ["test_error", "test_metric"]


def test_an_accuracy_alone_has_no_column_of_metrics(mixed, tmp_path):
    alone = summarise(mixed[mixed["metric"] == "accuracy"])
    assert results(alone).header[5:8] == ["n", "test % ± std", "median"]
    table = comparison.compare(mixed[mixed["metric"] == "accuracy"], "darts")
    assert not {"unit", "direction"} & set(table.columns)
    assert "better" not in comparison.note(table)


def test_no_published_number_is_set_beside_an_error(frame):
    known = {"method": "darts", "space": "s3", "data": "digits", "recipe": "digits", "statistic": "mean", "runs": 3}
    known |= {"accuracy": 97.0, "std": 0.1, "median": float("nan"), "words": "x", "source": "a", "where": "b"}
    summary, sheet = compare(summarise(frame), lambda _: {}, pd.DataFrame([known]))
    assert sheet is None
    assert summary["published"].isna().all()


def test_the_page_never_says_accuracy(written):
    text, figures = page_text(written)
    assert figures
    assert not re.search("accurac", "".join([text, *figures]), re.IGNORECASE)
    assert "<h2>Test mean absolute error by method</h2>" in text
    assert not [file.name for file in written.rglob("*") if "accuracy" in file.name]
    for file in (*written.glob("*.md"), *(written / "tables").iterdir()):
        assert "accurac" not in file.read_text().lower()


def test_the_csv_of_results_has_the_values_in_full(written):
    rows = list(csv.DictReader((written / "report.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["drnas", "darts"]
    for row in rows:
        assert float(row["test_metric_mean"]) == pytest.approx(statistics.mean(VALUES[row["method"]]))
        assert float(row["test_metric_best"]) == min(VALUES[row["method"]])
        assert (row["unit"], row["direction"], row["test_accuracy_mean"]) == ("years", "min", "")


def test_curves_of_one_run_have_the_metric(folder, tmp_path):
    paths = save_curves(folder / "darts0" / "metrics.csv", tmp_path, "x", ERROR)
    assert [path.name for path in paths] == ["search.svg", "evaluation.svg"]
    for path in paths:
        assert "mean absolute error (years)" in path.read_text()
        assert "accuracy" not in path.read_text()


def test_the_outcome_of_a_run(folder, caplog):
    summary = json.loads((folder / "darts1" / "summary.json").read_text())
    summary["evaluation"] |= {"macs": 1_000_000, "val_metric": 0.7}
    summary["search"] |= {"stopped_at": None, "rolled_back_to": None}
    entries = [ERROR.entries("val", 0.4), ERROR.entries("val", None)]
    summary["candidates"] = [{"values": {"seed": i}, **e, "chosen": not i} for i, e in enumerate(entries)]
    with caplog.at_level(logging.INFO, "nas_lightning"):
        show_outcome(summary, "outputs/x", show=False)
    table = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in caplog.text.splitlines() if "│" in line]
    found = dict(table)
    assert found["search: mean absolute error on val"] == "0.3750 years"
    assert found["test mean absolute error"] == "0.7500 years"
    assert found["random genotypes, mean of 2"] == "0.9000 ± 0.12 years"
    assert found["mean absolute error on val"] == "0.7000 years"
    assert found["candidate seed=0"] == "0.4000 years on val (chosen)"
    assert found["candidate seed=1"] == "not measured"
    assert "accuracy" not in caplog.text


def test_readings_are_compared_by_the_metric(folder):
    summary = json.loads((folder / "darts1" / "summary.json").read_text())
    other = summary["evaluation"] | ERROR.entries("test", 0.125)
    table = readings_table(summary | {"readings": {"perturbation": {"evaluation": other}}})
    assert table.columns[1].header == "test mean absolute error"
    assert list(table.columns[1].cells) == ["0.7500 years", "0.1250 years"]


@pytest.mark.slow
def test_the_report_of_a_run_that_minimised_an_error(regressed, tmp_path, monkeypatch, capsys):
    """A real run, through the task."""
    import nas_lightning as nl
    from nas_lightning.config.compose import as_dict

    monkeypatch.chdir(tmp_path)
    run_task(as_dict(nl.compose(["task=report", f"runs={regressed}"])), RunFolder(tmp_path / "report"))
    summary = RunFolder(regressed).summary()
    tested = summary["evaluation"]["test_metric"]
    text, figures = page_text(tmp_path / "report")
    printed = capsys.readouterr().out
    assert not re.search("accurac", "".join([text, *figures, printed]), re.IGNORECASE)
    assert f"{tested:#.4g}" in text
    assert f"{tested:#.4g}" in printed
    assert f"test mean absolute error {tested:#.4g} with darts (n = 1)." in text
    (row,) = csv.DictReader((tmp_path / "report" / "report.csv").read_text().splitlines())
    assert float(row["test_metric_best"]) == tested
    plots = [file.read_text() for file in (regressed / "plots").glob("*.svg")]
    assert any("mean absolute error" in plot for plot in plots)
    assert not any("accuracy" in plot for plot in plots)
