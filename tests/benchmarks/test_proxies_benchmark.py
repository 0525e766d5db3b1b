"""The benchmark of zero-cost proxies: its interval against a closed form, and a small run that is cut and goes on."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from conftest import write_images
from nas_lightning.evaluation.table import load


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.proxies")


def test_the_interval_of_a_mean_of_products(benchmark):
    """Of the mean of n ± 1 with equal numbers: the standard error is 1 / √n, the distribution nearly normal."""
    x = np.array([1.0, -1.0] * 200)
    low, high = benchmark.interval(lambda a, b: float((a * b).mean()), x, np.ones(400))
    assert (low, high) == (pytest.approx(-1.96 / 20, abs=0.012), pytest.approx(1.96 / 20, abs=0.012))
    assert benchmark.interval(benchmark.spearman, np.arange(20), np.arange(20), 50) == pytest.approx((1.0, 1.0))


@pytest.mark.slow
def test_a_run_that_is_cut_goes_on(benchmark, tmp_path):
    write_images(tmp_path / "tiny.npz")
    words = ["--device", "cpu", "--threads", "1", "--data", str(tmp_path / "tiny.npz"), "--cells", "6", "--batch", "4"]
    words += ["--channels", "2", "--json", str(tmp_path / "out.json"), "--rows"]
    benchmark.main([*words, str(tmp_path / "whole.jsonl")])
    found = json.loads((tmp_path / "out.json").read_text())
    (tmp_path / "out.json").unlink()
    rows = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text().splitlines()]
    (tmp_path / "cut.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    benchmark.main([*words, str(tmp_path / "cut.jsonl"), "--minutes", "-1"])
    assert not (tmp_path / "out.json").exists()
    benchmark.main([*words, str(tmp_path / "cut.jsonl")])
    again = [json.loads(line) for line in (tmp_path / "cut.jsonl").read_text().splitlines()]

    def plain(lines):
        return [{key: value for key, value in line.items() if "seconds" not in key} for line in lines]

    assert plain(again) == plain(rows)
    cells = [row["cell"] for row in rows[1:]]
    accuracies = load("nasbench201", None).columns["cifar100_test_200"][cells]
    (entry,) = [row for row in found["rows"] if (row["proxy"], row["set"]) == ("macs", "CIFAR-100")]
    macs = [row["macs"] for row in rows[1:]]
    assert entry["spearman"] == pytest.approx(spearmanr(macs, accuracies).statistic)
    assert entry["kendall"] == pytest.approx(kendalltau(macs, accuracies).statistic)
    with pytest.raises(SystemExit, match="holds scores of other settings"):
        benchmark.main([*words, str(tmp_path / "cut.jsonl"), "--seed", "1"])
