"""Zero-cost proxies of run folders: the same scores by hand, correlations, and what is refused."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr

import nas_lightning as nl
from analysed import analysis_config
from nas_lightning.analyses.proxies import Proxies, correlations
from nas_lightning.config.compose import rewrite
from nas_lightning.core.draws import hashed_seed
from nas_lightning.core.errors import Interrupted
from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.data import Arrays
from nas_lightning.data.module import EvaluationData
from nas_lightning.spaces import CellSpace, Genotype
from nas_lightning.tasks.resume import resume

NAMES = ["synflow", "naswot", "gradient_norm", "snip", "parameters", "macs"]
ERROR = Goal("mean_absolute_error", "", "min")


def analyse(folder, *words):
    return nl.analyse(analysis_config("proxies", *words), run_dir=folder)


def table(folder):
    with (folder / "analysis.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def copied(searched, folder, tested=None):
    """The run in another folder, with a value on the test part."""
    shutil.copytree(searched, folder, ignore=shutil.ignore_patterns("plots", "checkpoints"))
    summary = json.loads((folder / "summary.json").read_text())
    summary["evaluation"] = None if tested is None else {"test_accuracy": tested}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_scores_of_one_run_by_hand(searched, images_file, tmp_path, capsys):
    before = {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()}
    found = analyse(tmp_path / "a", f"run={searched}", "analysis.seed=3", "analysis.batch_size=8")
    (row,) = table(tmp_path / "a")
    assert list(row) == ["run", "method", "space", "data", "seed", *NAMES, "test_accuracy"]
    assert (row["run"], row["space"], row["test_accuracy"]) == (str(searched), "s3", "")
    data = Arrays(str(images_file))
    space = CellSpace("s3", ("none", "skip_connect", "sep_conv_3x3"), num_nodes=2)
    torch.manual_seed(hashed_seed(3, "proxies"))
    network = space.network(Genotype.load(searched), 4, 1, 4, 3)
    module = EvaluationData(data, 8, 3)
    module.setup("fit")
    images, labels = next(iter(module.train_dataloader()))
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    weights = [p for p in network.parameters() if p.dim() > 1]
    norms = sum(float(p.grad.norm()) for p in weights)
    assert float(row["gradient_norm"]) == pytest.approx(norms, rel=1e-5)
    assert float(row["snip"]) == pytest.approx(sum(float((p * p.grad).abs().sum().detach()) for p in weights), rel=1e-5)
    assert float(row["parameters"]) == sum(p.numel() for p in network.parameters())
    assert found["correlations"][0] == {
        **{"proxy": "synflow", "space": "s3", "data": "arrays", "runs": 0},
        **{"spearman": None, "kendall": None},
    }
    assert json.loads((tmp_path / "a" / "summary.json").read_text())["analysis"] == found
    assert {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()} == before
    assert "zero-cost proxies of the networks before training" in capsys.readouterr().out


def test_many_runs_and_a_resume(searched, tmp_path, caplog, monkeypatch):
    runs = tmp_path / "runs"
    for name, tested in (("a", 50.0), ("b", 60.0), ("c", None)):
        copied(searched, runs / name, tested)
    (copied(searched, runs / "d") / "genotype.json").unlink()
    words = [f"runs={runs}/*", "analysis.batch_size=8", "~analysis.proxies.naswot", "~analysis.proxies.synflow"]
    whole = analyse(tmp_path / "whole", *words)
    assert f"skipped {runs / 'd'}" in caplog.text
    assert [(row["run"][-1], row["test_accuracy"]) for row in whole["runs"]] == [("a", 50.0), ("b", 60.0), ("c", None)]
    assert len({row["snip"] for row in whole["runs"]}) == 1  # equal genotypes, images and weights
    assert [(row["proxy"], row["runs"]) for row in whole["correlations"]] == [(name, 2) for name in NAMES[2:]]
    real, seen = Proxies._scores, []

    def cut_off(self, found):
        if seen:
            raise KeyboardInterrupt
        seen.append(found.run.path.name)
        return real(self, found)

    monkeypatch.setattr(Proxies, "_scores", cut_off)
    with pytest.raises(Interrupted, match="continue with resume="):
        analyse(tmp_path / "cut", *words)
    monkeypatch.setattr(Proxies, "_scores", lambda s, found: seen.append(found.run.path.name) or real(s, found))
    assert resume(tmp_path / "cut")["analysis"] == whole
    assert seen == ["a", "b", "c"]


def test_correlations():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=9).tolist(), rng.normal(size=9).tolist()
    x[4] = -math.inf
    rows = [{"space": "s3", "data": "d", "p": a, "test_accuracy": b} for a, b in zip(x, y, strict=True)]
    rows += [{"space": "s3", "data": "d", "p": 5.0, "test_accuracy": None}]
    rows += [{"space": "s4", "data": "d", "p": 1.0, "test_accuracy": float(b)} for b in range(4)]
    first, second = correlations(rows, ["p"], ACCURACY)
    x[4] = -1e9
    assert (first["runs"], first["spearman"]) == (9, round(spearmanr(x, y).statistic, 4))
    assert first["kendall"] == round(kendalltau(x, y).statistic, 4)
    assert (second["space"], second["runs"], second["spearman"], second["kendall"]) == ("s4", 4, None, None)


def test_smaller_errors_are_better():
    rows = [{"space": "s3", "data": "d", "p": a, "test_metric": b} for a, b in ((1, 0.9), (2, 0.5), (3, 0.4))]
    (found,) = correlations(rows, ["p"], ERROR)
    assert (found["spearman"], found["kendall"]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], r"run=null: analysis=proxies scores the networks that runs found; give run=outputs/DATE/TIME"),
        (["run=nowhere"], r"run=nowhere: there is no run"),
        (["run=kept", "analysis.proxies={}"], r"analysis\.proxies={}: names no proxy; add one, \+proxy=synflow"),
        (["run=kept", "analysis.batch_size=0"], r"analysis\.batch_size=0: must be at least 1"),
        (
            ["run=kept", "analysis.proxies={mine: {_target_: nas_lightning.selectors.Magnitude}}"],
            r"analysis\.proxies\.mine\._target_=.* derive its class from nas_lightning\.proxies\.Proxy",
        ),
        (
            ["run=kept", "analysis.proxies={seed: {_target_: nas_lightning.proxies.Snip}}"],
            r"analysis\.proxies\.seed: is the name of another column",
        ),
        (["runs=bare"], r'runs="bare": none of 1 runs found a network'),
    ],
)
def test_mistakes(words, told, searched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copied(searched, tmp_path / "kept")
    (copied(searched, tmp_path / "bare") / "genotype.json").unlink()
    with pytest.raises(nl.ConfigError, match=told) as caught:
        analyse(tmp_path / "out", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_proxy_is_added_by_its_name():
    words = ["+proxy@analysis.proxies.flow=synflow", "analysis.proxies.flow.bn=true", "~analysis.proxies.snip"]
    proxies = nl.compose(["task=analyse", "analysis=proxies", *words]).analysis.proxies
    assert list(proxies) == [*(name for name in NAMES if name != "snip"), "flow"]
    assert (proxies.flow.bn, proxies.synflow.bn) == (True, False)
    assert rewrite(["+proxy=mine"]) == ["+proxy@analysis.proxies.mine=mine"]
    with pytest.raises(nl.ConfigError, match=r"analysis\.proxies\.macs is in the list already; change its values"):
        nl.compose(["task=analyse", "analysis=proxies", "+proxy=macs"])
