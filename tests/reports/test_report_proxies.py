"""Zero-cost proxies in a report: the scores of each run, and their correlation with the test accuracy."""

import csv

import numpy as np
import pytest
from scipy.stats import spearmanr

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.reports import collect, write_report
from nas_lightning.reports.proxies import proxies, with_proxies
from nas_lightning.reports.records import Problems
from nas_lightning.tasks.report import _choices_of_run
from reported import report_analysis, report_run

RNG = np.random.default_rng(0)
ACCURACIES, SCORES = RNG.normal(90, 2, 9).round(3), RNG.normal(5, 1, 9).round(3)


@pytest.fixture
def runs(tmp_path):
    folders = [report_run(tmp_path / "runs" / str(k), float(a), seed=k) for k, a in enumerate(ACCURACIES)]
    rows = [{"run": str(folder), "snip": s, "params": 7.0} for folder, s in zip(folders, SCORES, strict=True)]
    rows[8] = rows[8] | {"params": ""}
    report_analysis(tmp_path / "runs" / "p", "proxies", rows)
    return tmp_path / "runs"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_report_shows_scores_and_correlations(runs, tmp_path):
    write_report(str(runs), tmp_path / "r", lambda words: as_dict(nl.compose(words)), _choices_of_run)
    rows = read(tmp_path / "r" / "tables" / "proxies.csv")
    assert [float(row["snip"]) for row in rows] == SCORES.tolist()
    assert [row["params"] for row in rows] == ["7"] * 8 + ["–"]
    (found,) = [row for row in read(tmp_path / "r" / "tables" / "correlations.csv") if row["of"] == "proxy snip"]
    assert found["n"] == "9"
    assert found["Spearman ρ"] == f"{spearmanr(SCORES, ACCURACIES).statistic:.2f}"


def test_runs_that_were_not_scored(tmp_path):
    report_run(tmp_path / "run", 97.0)
    frame = collect(str(tmp_path))
    assert with_proxies(frame, Problems()) is frame
    assert proxies(frame) is None


def test_a_damaged_table_is_noted(runs):
    other = report_analysis(runs / "q", "proxies", [{"run": "elsewhere", "snip": "much"}])
    problems = Problems()
    frame = with_proxies(collect(str(runs)), problems)
    assert frame["proxy snip"].tolist() == pytest.approx(SCORES.tolist())
    assert [folder for folder, _ in problems.found] == [str(other)]
