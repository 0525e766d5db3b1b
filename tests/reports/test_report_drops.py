"""Tables of `analysis=discretization` in a report, metric by metric."""

import csv
import json
import math

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.reports import collect, write_report
from nas_lightning.reports.correlations import discretizations, draw_pair, drop_pair
from nas_lightning.reports.drops import gather_drops
from nas_lightning.reports.records import Problems
from nas_lightning.reports.style import Style
from nas_lightning.tasks.report import _choices_of_run
from reported import drop_of, report_analysis, report_run

ERROR = Goal("mean_absolute_error", "years", "min")


def report_errors(folder, errors, objective=None):
    """A finished analysis of supernets that report an error before and after discretisation."""
    rows = [
        {"run": f"e{number}", "val_metric": before, "discrete_metric": after, "drop": round(after - before, 6)}
        | {"dominant_eigenvalue": 0.1 * number}
        for number, (before, after) in enumerate(errors)
    ]
    report_analysis(folder, "discretization", rows)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"objective": objective or ERROR.to_dict()}))


def test_errors_stand_apart_from_accuracies(tmp_path):
    report_run(tmp_path / "run", 97.0)
    report_errors(tmp_path / "1", [(0.5, 0.75)])
    report_analysis(tmp_path / "2", "discretization", [drop_of("a", 6.0, 0.1)])
    problems = Problems()
    accuracies, errors = gather_drops(collect(str(tmp_path)), problems)
    assert (accuracies.name, accuracies.goal, list(accuracies.rows["drop"])) == ("discretization", ACCURACY, [6.0])
    assert (errors.name, errors.goal) == ("discretization-2", ERROR)
    assert errors.rows[["run", "val_metric", "discrete_metric", "drop"]].to_numpy().tolist() == [
        ["e0", 0.5, 0.75, 0.25]
    ]
    assert not [name for name in errors.rows if "accuracy" in name]
    assert not problems.found


def test_the_table_and_the_figure_show_a_rise_of_the_error(tmp_path):
    report_run(tmp_path / "run", 97.0)
    values = [(0.5, 0.5 + 0.01 * number) for number in range(8)]
    report_errors(tmp_path / "1", values)
    (errors,) = gather_drops(collect(str(tmp_path)), Problems())
    sheet = discretizations(errors.rows, errors.goal, errors.name)
    assert list(sheet.header[4:7]) == ["supernet years", "discretised years", "rise ± std"]
    std = math.sqrt(sum((0.01 * number - 0.035) ** 2 for number in range(8)) / 7)
    assert sheet.lines == [["darts", "s3", "digits", "8", "0.5000", "0.5350", f"0.03500 ± {std:.5f}", "0.350"]]
    assert "mean absolute error on val" in sheet.note
    assert not any("accuracy" in text for text in (*sheet.header, sheet.title, sheet.note))
    figure = draw_pair(errors.rows, drop_pair(errors.goal, errors.name), Style(errors.rows["method"]))
    (axes,) = figure.axes
    assert axes.get_ylabel() == "rise of mean absolute error on val (years)"
    (points,) = axes.collections
    assert points.get_offsets()[:, 1].tolist() == [round(after - before, 6) for before, after in values]


def test_the_report_has_a_table_of_each_metric(tmp_path):
    report_run(tmp_path / "runs" / "run", 97.0)
    report_errors(tmp_path / "runs" / "1", [(0.5, 0.75)])
    report_analysis(tmp_path / "runs" / "2", "discretization", [drop_of("a", 6.0, 0.1)])
    write_report(str(tmp_path / "runs"), tmp_path / "r", lambda words: as_dict(nl.compose(words)), _choices_of_run)
    found = {}
    for name in ("discretization", "discretization-2"):
        with (tmp_path / "r" / "tables" / f"{name}.csv").open(newline="") as file:
            (found[name],) = csv.DictReader(file)
    assert found["discretization"]["discretised %"] == "84.00"
    assert found["discretization-2"]["discretised years"] == "0.7500"


def test_a_metric_may_be_named_anyhow(tmp_path):
    report_run(tmp_path / "run", 97.0)
    report_errors(tmp_path / "1", [(0.5, 0.75)] * 8, {"metric": 3, "unit": "$\\x{$", "direction": "min"})
    report_errors(tmp_path / "2", [(0.5, 0.75)], ["no objective"])
    (odd,) = gather_drops(collect(str(tmp_path)), Problems())[1:]
    figure = draw_pair(odd.rows, drop_pair(odd.goal, odd.name), Style(odd.rows["method"]))
    figure.savefig(tmp_path / "odd.svg")
    assert r"rise of 3 on val (\$" in figure.axes[0].get_ylabel()
