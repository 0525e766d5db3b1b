"""The spectrum against torch's own dense Hessian in float64."""

import csv
import shutil

import numpy as np
import pytest
import torch

import nas_lightning as nl
from analysed import analysis_config, supernet_by_hand
from nas_lightning.analyses import spectrum
from nas_lightning.analyses.run import analysis_bench
from nas_lightning.analyses.supernets import supernets
from nas_lightning.config.compose import as_dict
from nas_lightning.config.schema import validate
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.build import search_data

DECAY = 1e-3


def analyse(folder, *words):
    return nl.analyse(analysis_config("spectrum", *words), run_dir=folder)


def values_of(folder):
    with (folder / "analysis.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == list(range(len(rows)))
    return [float(row["eigenvalue"]) for row in rows]


def by_hand(searched, path, epoch, train, tmp_path):
    """Eigenvalues of the Hessian of the cross entropy in the logits, all in float64, on the same images."""
    bench = analysis_bench(validate(analysis_config("spectrum", f"run={searched}")), RunFolder(tmp_path / "unused"))
    (found,) = supernets(bench, lambda supernet: None)
    images = search_data(found.bench)
    images.setup("fit")
    inputs, labels = images.fixed_arch_batch()
    _, supernet, arch = supernet_by_hand(searched, path, f"epoch={epoch}")
    supernet.train(train)
    flat = torch.cat([a.flatten() for a in arch.values()])

    def loss(vector):
        parts = vector.split([a.numel() for a in arch.values()])
        mixing = {n: torch.softmax(p.view(arch[n].shape), dim=1) for n, p in zip(arch, parts, strict=True)}
        return torch.nn.functional.cross_entropy(supernet(inputs.double(), mixing), labels)

    dense = torch.autograd.functional.hessian(loss, flat)
    return torch.linalg.eigvalsh((dense + dense.T) / 2).numpy()


@pytest.mark.parametrize(("mode", "decay", "epoch"), [("train", True, 2), ("eval", False, 1)])
def test_equals_the_dense_hessian(searched, images_file, tmp_path, monkeypatch, mode, decay, epoch):
    monkeypatch.setattr(spectrum, "save_spectrum", lambda *_: None)
    before = {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()}
    words = [f"analysis.mode={mode}", f"analysis.weight_decay={str(decay).lower()}", f"epoch={epoch}"]
    found = analyse(tmp_path / "a", f"run={searched}", *words)
    values = values_of(tmp_path / "a")
    expected = by_hand(searched, images_file, epoch, mode == "train", tmp_path) + (DECAY if decay else 0.0)
    assert len(values) == 2 * 5 * 3
    np.testing.assert_allclose(values, expected, atol=1e-5 * np.abs(expected).max())
    # A row of logits can be shifted: one eigenvalue an edge is that of the weight decay alone.
    assert sum(abs(value - (DECAY if decay else 0.0)) < 1e-6 for value in values) >= 10
    (told,) = found["runs"]
    assert (told["largest"], told["smallest"]) == (max(values), min(values))
    assert (told["eigenvalues"], told["negative"]) == (30, sum(value < 0 for value in values))
    assert told["epoch"] == epoch
    assert {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()} == before


def test_many_runs_in_one_folder(searched, tmp_path, capsys):
    for name in "ab":
        shutil.copytree(searched, tmp_path / "runs" / name, ignore=shutil.ignore_patterns("plots"))
    found = analyse(tmp_path / "out", f"runs={tmp_path / 'runs'}/*")
    assert [told["run"][-1] for told in found["runs"]] == ["a", "b"]
    assert found["runs"][0]["largest"] == found["runs"][1]["largest"]
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {"config.yaml", "summary.json", "analysis.csv", "plots/spectrum.svg"}
    assert "30 eigenvalues, the largest" in capsys.readouterr().out


def test_a_search_that_diverged(searched, tmp_path):
    shutil.copytree(searched, tmp_path / "run", ignore=shutil.ignore_patterns("plots"))
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    saved["state_dict"]["supernet.classifier.bias"].fill_(np.nan)
    torch.save(saved, path)
    with pytest.raises(nl.ConfigError, match="the Hessian is not finite: the search diverged") as caught:
        analyse(tmp_path / "out", f"run={tmp_path / 'run'}")
    assert "\n" not in str(caught.value)


def test_a_method_without_architecture_parameters(searched, tmp_path):
    """Its Hessian would be the weight decay alone."""
    run = tmp_path / "run"
    shutil.copytree(searched, run)
    config = (run / "config.yaml").read_text()
    changed = config.replace("hypergradients.FirstOrder", "hypergradients.Nothing")
    assert changed != config
    (run / "config.yaml").write_text(changed)
    for path in (run / "checkpoints").glob("*.ckpt"):
        saved = torch.load(path, weights_only=True)
        saved["nas_lightning"]["run"] = RunFolder(run).fingerprint()
        torch.save(saved, path)
    with pytest.raises(nl.ConfigError, match=r"learns no architecture parameters"):
        analyse(tmp_path / "a", f"run={run}")
    assert not (tmp_path / "a").exists()


def test_runs_that_searched_without_a_supernet_or_several_times(images_file, tmp_path):
    """Said as such, before any epoch is asked for."""
    words = ["task=search", "data=arrays", f"data.path={images_file}"]
    for name, more, told in (
        ("random", ["method=random_search"], r"its selector needs no supernet"),
        ("several", ["candidates.key=seed", "candidates.values=[0,1]"], r"run=.*/candidates/0"),
        ("judged", ["task=evaluate", "genotype=random"], r"task=evaluate has no search"),
    ):
        RunFolder(tmp_path / name).claim(as_dict(nl.compose([*words, *more])))
        with pytest.raises(nl.ConfigError, match=told):
            analyse(tmp_path / "out", f"run={tmp_path / name}")
