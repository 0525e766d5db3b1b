"""The discretised supernet against one that is put together by hand."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import nas_lightning as nl
from analysed import analysis_config, supernet_by_hand
from nas_lightning.analyses import discretization
from nas_lightning.core.errors import Interrupted
from nas_lightning.data import search_split
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.resume import resume

CURVATURE = "epoch,search_epoch,attempt,dominant_eigenvalue\n0,0,0,0.25\n1,1,0,0.5\n"


@pytest.fixture
def no_figure(monkeypatch):
    """Drawing takes longer than all else."""
    monkeypatch.setattr(discretization, "save_discretization", lambda *_: None)


def analyse(folder, *words):
    return nl.analyse(analysis_config("discretization", *words), run_dir=folder)


def table(folder):
    with (folder / "analysis.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def copied(searched, folder):
    """The run in another folder, with a measured curvature."""
    shutil.copytree(searched, folder, ignore=shutil.ignore_patterns("plots"))
    (folder / "curvature.csv").write_text(CURVATURE)
    return folder


def by_hand(searched, path, epoch):
    """Accuracy and loss on the arch half at the mean and at one-hot mixing weights, in float64."""
    data, supernet, arch = supernet_by_hand(searched, path, f"epoch={epoch}")
    mean = {name: torch.softmax(a, dim=1) for name, a in arch.items()}
    one_hot = {}
    for name, weights in mean.items():  # the edges (0,2), (1,2) are both kept; of (0,3), (1,3), (2,3) two are
        best = 1 + weights[:, 1:].argmax(dim=1)
        strengths = weights[:, 1:].max(dim=1).values
        kept = [0, 1, *sorted(range(2, 5), key=lambda row, s=strengths: -float(s[row]))[:2]]
        one_hot[name] = torch.zeros_like(weights)
        one_hot[name][kept, best[kept]] = 1
    val = search_split(data.train_labels, "stratified").val
    images = torch.stack([data.dataset("train", augment=False)[index][0] for index in val]).double()
    labels = torch.tensor(data.train_labels[val])
    found = []
    for mixing in (mean, one_hot):
        with torch.no_grad():
            outputs = supernet(images, mixing)
        accuracy = 100 * float((outputs.argmax(dim=1) == labels).double().mean())
        found += [accuracy, float(torch.nn.functional.cross_entropy(outputs, labels))]
    return found


@pytest.mark.usefixtures("no_figure")
@pytest.mark.parametrize(("epoch", "eigenvalue"), [(1, "0.25"), (2, "0.5")])
def test_it_is_the_supernet_with_one_hot_mixing(searched, images_file, tmp_path, epoch, eigenvalue):
    run = copied(searched, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    found = analyse(tmp_path / "a", f"run={run}", f"epoch={epoch}")
    (row,) = table(tmp_path / "a")
    accuracy, loss, discrete_accuracy, discrete_loss = by_hand(searched, images_file, epoch)
    assert float(row["val_accuracy"]) == pytest.approx(accuracy, abs=1e-3)
    assert float(row["discrete_accuracy"]) == pytest.approx(discrete_accuracy, abs=1e-3)
    assert float(row["drop"]) == pytest.approx(accuracy - discrete_accuracy, abs=1e-3)
    assert float(row["val_loss"]) == pytest.approx(loss, abs=2e-6)
    assert float(row["discrete_loss"]) == pytest.approx(discrete_loss, abs=2e-6)
    assert abs(discrete_loss - loss) > 1e-4
    logged = pd.read_csv(searched / "metrics.csv").set_index("epoch")["val_accuracy"][epoch - 1]
    assert float(row["val_accuracy"]) == pytest.approx(logged, abs=1e-3)  # of the run itself
    assert row["dominant_eigenvalue"] == eigenvalue
    told = {key: row[key] for key in ("run", "method", "space", "data", "seed", "epoch")}
    assert told == {"run": str(run), "method": "darts", "space": "s3", "data": "arrays", "seed": "0"} | {
        "epoch": str(epoch)
    }
    assert found["runs"][0]["drop"] == float(row["drop"])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_many_runs_and_those_without_a_supernet(searched, tmp_path, caplog, capsys):
    for name in "abc":
        copied(searched, tmp_path / "runs" / name)
    shutil.rmtree(tmp_path / "runs" / "b" / "checkpoints")
    (tmp_path / "runs" / "c" / "curvature.csv").unlink()
    found = analyse(tmp_path / "out", f"runs={tmp_path / 'runs'}/*")
    assert [(row["run"][-1], row["dominant_eigenvalue"]) for row in found["runs"]] == [("a", 0.5), ("c", None)]
    assert f"skipped {tmp_path / 'runs' / 'b'}" in caplog.text
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["analysis"] == found
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {"config.yaml", "summary.json", "analysis.csv", "plots/discretization.svg"}
    assert "without retraining" in capsys.readouterr().out


@pytest.mark.usefixtures("no_figure")
def test_what_is_measured_is_not_measured_again(searched, tmp_path, monkeypatch):
    runs = [str(copied(searched, tmp_path / "runs" / name)) for name in "ab"]
    whole = analyse(tmp_path / "whole", f"runs={tmp_path / 'runs'}/*")
    real, seen = discretization.Discretization._measure, []

    def cut_off(self, supernet):
        if seen:
            raise KeyboardInterrupt
        seen.append(str(supernet.run))
        return real(self, supernet)

    monkeypatch.setattr(discretization.Discretization, "_measure", cut_off)
    with pytest.raises(Interrupted, match="continue with resume="):
        analyse(tmp_path / "cut", f"runs={tmp_path / 'runs'}/*")
    monkeypatch.setattr(
        discretization.Discretization, "_measure", lambda s, net: seen.append(str(net.run)) or real(s, net)
    )
    assert resume(tmp_path / "cut")["analysis"] == whole
    assert seen == runs


def test_a_genotype_that_mixing_weights_do_not_tell(searched, tmp_path):
    """Of a selector that measures, the run's own genotype counts, and there is none of earlier epochs."""
    run = copied(searched, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["selector"] = {"_target_": "nas_lightning.selectors.Perturbation"}
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for path in (run / "checkpoints").glob("*.ckpt"):
        saved = torch.load(path, weights_only=True)
        saved["nas_lightning"]["run"] = RunFolder(run).fingerprint()
        torch.save(saved, path)
    assert analyse(tmp_path / "a", f"run={run}", "epoch=2")["runs"][0]["epoch"] == 2
    with pytest.raises(nl.ConfigError, match=r"epoch=1: .* derives its genotype only at the end"):
        analyse(tmp_path / "b", f"run={run}", "epoch=1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], r"run=null: analysis=discretization needs the supernets of searches; give run=outputs/DATE/TIME"),
        (["run=nowhere"], r"run=nowhere: there is no run"),
        (["runs=nowhere"], r"runs='nowhere' finds no run"),
        (["run=none"], r"epoch=null: none keeps no supernet"),
        (["runs=none"], r"runs=none: none of 1 runs keeps a supernet that can be analysed; epoch=null"),
        (["run=kept", "epoch=7"], r"epoch=7: .* allowed: 1, 2"),
    ],
)
def test_mistakes(words, told, searched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copied(searched, tmp_path / "kept")
    shutil.rmtree(copied(searched, tmp_path / "none") / "checkpoints")
    with pytest.raises(nl.ConfigError, match=told) as caught:
        analyse(tmp_path / "out", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_figure")
def test_a_search_that_diverged_is_left_out_of_many(searched, tmp_path, caplog):
    for name in "ab":
        copied(searched, tmp_path / "runs" / name)
    path = tmp_path / "runs" / "a" / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    saved["state_dict"]["supernet.classifier.bias"].fill_(np.nan)
    torch.save(saved, path)
    found = analyse(tmp_path / "out", f"runs={tmp_path / 'runs'}/*")
    assert [row["run"][-1] for row in found["runs"]] == ["b"]
    assert "the search diverged" in caplog.text
    with pytest.raises(nl.ConfigError, match="the search diverged"):
        analyse(tmp_path / "one", f"run={tmp_path / 'runs' / 'a'}")
