"""The gap of skip connections, from run folders alone."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest

import nas_lightning as nl
from analysed import analysis_config


def analyse(folder, *words):
    return nl.analyse(analysis_config("skip_gap", *words), run_dir=folder)


def table(folder):
    with (folder / "analysis.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def by_hand(searched):
    """Gap of S3 (none, skip_connect, sep_conv_3x3) and accuracy by epoch."""
    metrics = pd.read_csv(searched / "metrics.csv").set_index("epoch")["val_accuracy"]
    lines = [json.loads(line) for line in (searched / "genotypes.jsonl").read_text().splitlines()]
    gaps = {}
    for line in lines:
        cells = [np.array(line["mixing"][cell]) for cell in ("normal", "reduce")]
        gaps[line["epoch"]] = np.mean([cell[:, 1].mean() - cell[:, 2].mean() for cell in cells])
    return {epoch: (gaps[epoch], metrics[epoch]) for epoch in metrics.index}


def test_one_run(searched, tmp_path, capsys):
    found = analyse(tmp_path / "a", f"run={searched}")
    expected = by_hand(searched)
    rows = table(tmp_path / "a")
    assert [int(row["epoch"]) for row in rows] == [0, 1]  # before training there is no accuracy
    for row in rows:
        gap, accuracy = expected[int(row["epoch"])]
        assert float(row["skip_gap"]) == pytest.approx(gap, abs=1e-6)
        assert float(row["val_accuracy"]) == pytest.approx(accuracy)
    names = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert names == {"config.yaml", "summary.json", "analysis.csv", "plots/skip_gap.svg"}
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["analysis"] == found
    assert (summary["task"], summary["method"]) == ("analyse", None)
    assert "Pearson" in capsys.readouterr().out


def copied(searched, folder, gaps, accuracies, phases=None):
    """A run folder with other numbers: a cell of one edge would do, so all edges have the same gap."""
    shutil.copytree(searched, folder, ignore=shutil.ignore_patterns("checkpoints", "plots"))
    phases = phases or ["search"] * len(gaps)
    header = "phase,epoch,search_epoch,attempt,val_accuracy\n"
    numbers = enumerate(zip(phases, accuracies, strict=True))
    lines = [f"{phase},{e},{e},0,{'' if a is None else a}\n" for e, (phase, a) in numbers]
    (folder / "metrics.csv").write_text(header + "".join(lines))
    rows = [[[0.2, 0.4 + gap / 2, 0.4 - gap / 2]] * 5 for gap in gaps]
    noted = [{"epoch": e, "search_epoch": e, "attempt": 0, "genotype": None, "mixing": {"normal": r, "reduce": r}}
             for e, r in enumerate(rows)]  # fmt: skip
    (folder / "genotypes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in noted) + '{"epoch": 9, "mi')
    return folder


def test_several_runs(searched, tmp_path):
    gaps, accuracies = [-0.1, 0.0, 0.05, 0.3], [20.0, 50.0, 40.0, 70.0]
    copied(searched, tmp_path / "runs" / "a", gaps, accuracies)
    copied(searched, tmp_path / "runs" / "b", [-gap for gap in gaps], accuracies)
    copied(searched, tmp_path / "runs" / "c", [0.1, 0.1], [10.0, 20.0])
    found = analyse(tmp_path / "out", f"runs={tmp_path / 'runs'}/*")
    a, b, c = found["runs"]
    assert a["pearson"] == pytest.approx(np.corrcoef(gaps, accuracies)[0, 1], abs=1e-3)
    assert a["spearman"] == pytest.approx(0.8)  # of four ranks two neighbours are exchanged: 1 − 6·2/(4·15)
    assert b["pearson"] == -a["pearson"]
    assert (c["pearson"], c["spearman"], c["epochs"]) == (None, None, 2)
    assert (a["first_gap"], a["last_gap"]) == (-0.1, 0.3)
    pooled = np.corrcoef([*gaps, *(-gap for gap in gaps), 0.1, 0.1], [*accuracies, *accuracies, 10.0, 20.0])[0, 1]
    assert found["pearson"] == pytest.approx(pooled, abs=1e-3)


def test_only_epochs_of_the_search_that_were_validated_count(searched, tmp_path):
    phases = ["search", "search", "search", "selection"]
    copied(searched, tmp_path / "runs" / "a", [0.1, 0.2, 0.3, 0.4], [20.0, None, 40.0, 99.0], phases)
    found = analyse(tmp_path / "out", f"run={tmp_path / 'runs' / 'a'}")
    assert [(row["epoch"], float(row["val_accuracy"])) for row in table(tmp_path / "out")] == [("0", 20.0), ("2", 40.0)]
    assert found["runs"][0]["last_gap"] == pytest.approx(0.3)


def test_runs_without_tables_are_skipped(searched, tmp_path, caplog):
    copied(searched, tmp_path / "runs" / "a", [0.1, 0.2], [20.0, 30.0])
    (copied(searched, tmp_path / "runs" / "b", [0.1], [20.0]) / "genotypes.jsonl").unlink()
    assert len(analyse(tmp_path / "out", f"runs={tmp_path / 'runs'}")["runs"]) == 1
    assert "no epoch has both mixing weights and an accuracy" in caplog.text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], r"runs=null: analysis=skip_gap reads the tables of searches; give a glob"),
        (["runs=nowhere"], r"runs='nowhere' finds no run"),
        (["runs=empty"], r'runs="empty": no run there has genotypes\.jsonl and metrics\.csv'),
    ],
)
def test_mistakes(words, told, searched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (copied(searched, tmp_path / "empty", [0.1], [20.0]) / "metrics.csv").unlink()
    with pytest.raises(nl.ConfigError, match=told) as caught:
        analyse(tmp_path / "out", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
