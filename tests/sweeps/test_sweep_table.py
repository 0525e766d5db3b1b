"""The table of a sweep: `sweep.csv`, and what is printed at its end."""

import csv
from dataclasses import replace

from nas_lightning.sweeps.members import value_on_test, values_beside
from nas_lightning.sweeps.records import Record, show


def table(folder):
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_accuracy_on_test_is_only_shown():
    assert value_on_test({"evaluation": {"val_accuracy": 80.0, "test_accuracy": 90.0}}) == 90.0
    assert value_on_test({"search": {"val_accuracy": 70.0}, "evaluation": None}) is None


def test_the_table_has_what_was_measured(tmp_path, capsys):
    """sweep.csv has every column; the printed table none that is empty."""
    members = [Record(n, f"f{n}", [f"seed={n}"], "finished", test=90.5 + n) for n in range(2)]
    show([replace(member, val=40.25) for member in members], tmp_path / "sweep.csv")
    rows = table(tmp_path)
    assert [(row["seed"], row["val_accuracy"], row["test_accuracy"]) for row in rows] == [
        ("0", "40.25", "90.5"),
        ("1", "40.25", "91.5"),
    ]
    printed = capsys.readouterr().out
    assert "91.5" in printed
    assert "reason" not in printed
    assert "compare them: task=report" in printed
    show(members, tmp_path / "sweep.csv")  # of task=evaluate
    printed = capsys.readouterr().out
    assert list(table(tmp_path)[0]) == ["member", "seed", "status", "val_accuracy", "test_accuracy", "reason"]
    assert "val_accuracy" not in printed
    assert "compare them: task=report" in printed
    show([Record(0, "f", ["seed=0"], "failed", "no space")], tmp_path / "sweep.csv")
    printed = capsys.readouterr().out
    assert "no space" in printed
    assert "accuracy" not in printed


def test_other_metrics_have_other_columns(tmp_path):
    members = [
        Record(0, "f0", ["objective=classification"], "finished", val=80.0, test=81.0, others={"pt": 82.0}),
        Record(1, "f1", ["objective=regression"], "finished", val=0.5, test=0.25, others={"pt": None}, word="metric"),
    ]
    show(members, tmp_path / "sweep.csv")
    one, other = table(tmp_path)
    assert (one["val_accuracy"], one["test_accuracy"], one["test_accuracy/pt"]) == ("80", "81", "82")
    assert (one["val_metric"], one["test_metric"], one["test_metric/pt"]) == ("", "", "")
    assert (other["val_metric"], other["test_metric"], other["val_accuracy"]) == ("0.5", "0.25", "")


def test_readings_and_further_methods_have_columns(tmp_path, capsys):
    part = {"evaluation": {"test_accuracy": 94.19}}
    found = values_beside({"readings": {"pt": part, "unjudged": {"evaluation": None}}, "methods": {"rs": part}})
    assert found == {"pt": 94.19, "unjudged": None, "rs": 94.19}
    assert values_beside({"readings": None}) == {}
    first = Record(0, "f0", ["seed=0"], "finished", test=79.82, others=found)
    show([first, Record(1, "f1", ["seed=1"], "failed", "no space")], tmp_path / "sweep.csv")
    one, other = table(tmp_path)
    assert (one["test_accuracy/pt"], one["test_accuracy/rs"], one["test_accuracy/unjudged"]) == ("94.19", "94.19", "")
    assert other["test_accuracy/pt"] == ""
    printed = capsys.readouterr().out
    assert "94.19" in printed
    assert "unjudged" not in printed
