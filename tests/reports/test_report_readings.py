"""What several selectors read from one supernet: table and figure."""

import csv
from io import StringIO

from rich.console import Console

from nas_lightning.reports import readings
from nas_lightning.reports.readings import readings_table, rows_of, save_readings


def section(accuracy, **others):
    return {"test_accuracy": accuracy, "params": 300_000, **others}


def summary(**others):
    table = {"rank_of": 15625, "random_accuracy": 87.06, "random_search_accuracy": 92.58, "random_search_draws": 10}
    judged = section(79.8, rank=14000, regret=14.57, **table)
    reading = {"genotype": {}, "selection": {}, "evaluation": section(94.2, rank=12, regret=0.17, **table)}
    found = {"method": "darts", "space": "nasbench201", "data": "digits", "seed": 3}
    return {**found, "evaluation": judged, "readings": {"darts_pt": reading}, **others}


def text_of(table):
    console = Console(width=100, record=True, file=StringIO())
    console.print(table)
    return console.export_text()


def test_the_table_holds_every_reading_and_chance():
    shown = text_of(readings_table(summary()))
    lines = [line for line in shown.splitlines() if "%" in line]
    assert [line.split("│")[1].strip() for line in lines] == [
        *("darts", "darts_pt", "one cell at random", "best of 10 at random")
    ]
    assert "12 of 15,625" in lines[1]
    assert [line.split("│")[2].strip() for line in lines] == ["79.80 %", "94.20 %", "87.06 %", "92.58 %"]


def test_a_reading_that_a_partial_table_lacks():
    missing = {"genotype": {}, "selection": {}, "evaluation": section(None, rank=None, rank_of=9, regret=None)}
    lines = text_of(readings_table(summary(readings={"other": missing}))).splitlines()
    (line,) = [line for line in lines if "other" in line]
    assert [cell.strip() for cell in line.split("│")[2:5]] == ["–", "not in the table", "–"]


def test_without_readings_there_is_no_table_and_without_a_table_no_rank():
    assert readings_table(summary(readings=None)) is None
    assert readings_table(summary(evaluation=None, readings={})) is None
    trained = {"genotype": {}, "selection": {}, "evaluation": section(91.0)}
    shown = text_of(readings_table(summary(evaluation=section(90.0), readings={"other": trained})))
    assert "rank" not in shown
    assert "0.300 M" in shown
    assert len(list(rows_of(summary()))) == 2


def test_further_methods_stand_in_the_same_table():
    rest = {"genotype": {}, "search": {}, "selection": {}}
    methods = {"sdarts_rs": {**rest, "evaluation": section(91.1, rank=7212, regret=3.29, rank_of=15625)}}
    shown = text_of(readings_table(summary(methods=methods)))
    assert "2 searches, 3 selections · seed 3" in shown
    assert [line.split("│")[1].strip() for line in shown.splitlines() if " of " in line and "%" in line] == [
        *("darts", "darts_pt", "sdarts_rs", "best of 10 at random")
    ]
    assert "2 searches, 2 selections" in text_of(readings_table(summary(methods=methods, readings=None)))


def test_the_figure_draws_the_search_of_a_further_method(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(readings, "save_svg", lambda figure, path: drawn.append(figure) or path)
    for folder, start in ((tmp_path, 90), (tmp_path / "methods/sdarts_rs", 80)):
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "trajectory.csv", [{"epoch": e, "test_accuracy": start - e} for e in range(3)])
        write(folder / "metrics.csv", [{"phase": "search", "epoch": e, "skip_share/cell": start / 100} for e in (0, 1)])
    save_readings(summary(methods={"sdarts_rs": {"evaluation": section(91.1)}}), tmp_path)
    accuracy, skips = drawn[0].axes
    lines = {line.get_label(): list(line.get_ydata()) for line in accuracy.lines}
    assert lines["darts: 79.80 %"] == [90, 89, 88]
    assert lines["sdarts_rs: 91.10 %"] == [80, 79, 78]
    assert lines["darts_pt: 94.20 %"] == [94.2]
    assert [list(line.get_ydata()) for line in skips.lines] == [[90, 90], [80, 80]]
    assert accuracy.lines[0].get_color() == skips.lines[0].get_color() != skips.lines[1].get_color()


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_the_figure_is_the_same_for_the_same_run(tmp_path):
    assert save_readings(summary(), tmp_path) is None  # nothing was looked up
    write(tmp_path / "trajectory.csv", [{"epoch": e, "attempt": 0, "test_accuracy": 90 - e} for e in range(-1, 3)])
    rows = [{"phase": "search", "epoch": e, "skip_share/cell": 0.2, "dominant_eigenvalue": 0.1 * e} for e in range(3)]
    write(tmp_path / "metrics.csv", rows)
    first = save_readings(summary(), tmp_path).read_bytes()
    assert save_readings(summary(), tmp_path).read_bytes() == first
    assert b"darts_pt: 94.20" in first or b"<path" in first
    assert save_readings(summary(seed=4), tmp_path).read_bytes() != first
    write(tmp_path / "metrics.csv", [{"phase": "search", "epoch": 0}])  # neither skips nor curvature were measured
    assert len(save_readings(summary(), tmp_path).read_bytes()) < len(first)
