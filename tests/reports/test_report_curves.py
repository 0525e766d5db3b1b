import re

import pytest

from nas_lightning.reports.curves import save_curves

HEADER = "phase,epoch,search_epoch,attempt,train_loss,arch_loss,val_loss,train_accuracy,val_accuracy,lr\n"


def write(path, *rows):
    path.write_text(HEADER + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def texts(path):
    return re.findall(r">([^<>]+)</text>", path.read_text())


def test_one_figure_a_phase(tmp_path):
    rows = [("search", e, e, 0, 2 / (e + 1), 2.1 / (e + 1), 2.2 / (e + 1), 40 + e, 38 + e, 0.1) for e in range(6)]
    rows += [("evaluation", e, "", 0, 1 / (e + 1), "", "", 60 + e, "", 0.1) for e in range(4)]
    paths = save_curves(write(tmp_path / "metrics.csv", *rows), tmp_path / "plots")
    assert paths == [tmp_path / "plots" / "search.svg", tmp_path / "plots" / "evaluation.svg"]
    search, evaluation = map(texts, paths)
    for label in ("search", "epoch", "loss (nats)", "accuracy (%)", "train", "architecture", "validation"):
        assert label in search
    assert "train" in evaluation
    assert "architecture" not in evaluation


def test_missing_phase_and_columns_are_left_out(tmp_path):
    table = tmp_path / "metrics.csv"
    table.write_text("phase,epoch,test_accuracy\nevaluation,0,51.5\n")
    (path,) = save_curves(table, tmp_path)
    assert path.name == "evaluation.svg"
    assert "test" in texts(path)
    assert "loss (nats)" not in texts(path)


@pytest.mark.parametrize("content", ["", HEADER, "epoch,train_loss\n0,1\n", "phase,epoch,lr\nsearch,0,0.1\n"])
def test_nothing_measured_no_figure(tmp_path, content):
    table = tmp_path / "metrics.csv"
    table.write_text(content)
    assert save_curves(table, tmp_path / "plots") == []
    assert not (tmp_path / "plots").exists()


def test_no_table_no_figure(tmp_path):
    assert save_curves(tmp_path / "metrics.csv", tmp_path / "plots") == []


def test_rollback_is_marked_once_in_the_legend(tmp_path):
    attempts = [0, 0, 0, 1, 1, 2]
    rows = [("search", e, e, attempt, 1, 1, 1, 50, 50, 0.1) for e, attempt in enumerate(attempts)]
    (path,) = save_curves(write(tmp_path / "metrics.csv", *rows), tmp_path)
    assert texts(path).count("rolled back") == 2  # one a panel


def test_spread_rows_of_an_epoch(tmp_path):
    rows = [("search", 0, 0, 0, 1.5, "", "", "", "", 0.1), ("search", 0, 0, 0, "", "", 1.4, "", 33, 0.1)]
    (path,) = save_curves(write(tmp_path / "metrics.csv", *rows), tmp_path)
    assert {"train", "validation"} <= set(texts(path))


def test_same_table_same_bytes(tmp_path):
    table = write(tmp_path / "metrics.csv", ("search", 0, 0, 0, 1, 1, 1, 50, 50, 0.1))
    (one,), (other,) = save_curves(table, tmp_path / "a"), save_curves(table, tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()
