"""Strength against a supernet that is put together by hand."""

import csv
import json

import numpy as np
import pytest
import torch

import nas_lightning as nl
from analysed import OPTIONS, analysis_config, supernet_by_hand
from nas_lightning.analyses import Strength, strength
from nas_lightning.analyses.base import Origin
from nas_lightning.analyses.run import analysis_bench
from nas_lightning.config.schema import validate
from nas_lightning.core.errors import Interrupted
from nas_lightning.data import search_split
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.one_shot import OneShotModel
from nas_lightning.tasks.resume import resume


@pytest.fixture
def no_figure(monkeypatch):
    """Drawing takes longer than all else."""
    monkeypatch.setattr(strength, "save_strength", lambda *_: None)


def analyse(searched, folder, *words):
    return nl.analyse(analysis_config("strength", f"run={searched}", *words), run_dir=folder)


def table(folder):
    with (folder / "analysis.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def origin_of(searched, tmp_path, *words):
    bench = analysis_bench(
        validate(analysis_config("strength", f"run={searched}", *words)), RunFolder(tmp_path / "unused")
    )
    return bench, Origin(bench)


def accuracy_by_hand(searched, path, epoch, row, option):
    """Of the supernet after so many epochs on the arch half, a row of the normal cell fixed by hand; float64."""
    data, supernet, arch = supernet_by_hand(searched, path, f"epoch={epoch}")
    mixing = {name: torch.softmax(a, dim=1) for name, a in arch.items()}
    weight = float(mixing["normal"][row, option])
    mixing["normal"][row] = torch.eye(3, dtype=torch.float64)[option]
    val = search_split(data.train_labels, "stratified").val
    images = torch.stack([data.dataset("train", augment=False)[index][0] for index in val]).double()
    with torch.no_grad():
        guesses = supernet(images, mixing).argmax(dim=1).numpy()
    return weight, 100 * np.mean(guesses == data.train_labels[val])


@pytest.mark.usefixtures("no_figure")
@pytest.mark.parametrize(("epoch", "rows"), [(1, [2]), (2, [4])])
def test_without_training_it_is_the_fixed_supernet(searched, images_file, tmp_path, epoch, rows):
    before = {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()}
    found = analyse(searched, tmp_path / "a", "analysis.epochs=0", f"analysis.rows={rows}", f"epoch={epoch}")
    measured = table(tmp_path / "a")
    assert [(int(row["row"]), row["option"]) for row in measured] == [(r, o) for r in rows for o in OPTIONS]
    for row in measured:
        option = OPTIONS.index(row["option"])
        weight, accuracy = accuracy_by_hand(searched, images_file, epoch, int(row["row"]), option)
        assert float(row["weight"]) == pytest.approx(weight, abs=1e-6)
        assert float(row["accuracy"]) == pytest.approx(accuracy, abs=1e-3)
        assert row["epochs"] == "0"
    assert (measured[0]["source"], measured[0]["node"]) == {2: ("0", "3"), 4: ("2", "3")}[rows[0]]
    assert (found["epoch"], found["name"]) == (epoch, "strength")
    assert {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()} == before


def test_run_folder_and_summary(searched, tmp_path, capsys):
    found = analyse(searched, tmp_path / "a", "analysis.epochs=0", "analysis.rows=2")
    names = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert names == {"config.yaml", "summary.json", "analysis.csv", "plots/strength.svg"}
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert summary["analysis"] == found
    assert (summary["task"], summary["method"], summary["space"]) == ("analyse", "darts", "s3")
    assert summary["search"] is None
    edges = {}
    for row in table(tmp_path / "a"):
        if row["option"] != "none":  # measured, but no genotype may hold it
            edges.setdefault(row["row"], []).append((row["option"], float(row["weight"]), float(row["accuracy"])))
    assert len(edges) == 2
    for told in found["rows"]:
        (a, b) = edges[str(told["row"])]
        assert told["by_weight"] == (a if a[1] >= b[1] else b)[0]
        assert told["agrees"] == (a[2] == b[2] or (a[1] > b[1]) == (a[2] > b[2]))
    assert found["top1_agreement"] == 50 * sum(told["agrees"] for told in found["rows"])
    assert sum(found["by_weight"].values()) == sum(found["by_accuracy"].values()) == 2
    out = capsys.readouterr().out
    assert "2 rows agree" in out
    assert out.count("after 0 epochs") == 6


def test_an_option_is_trained_as_told(searched, tmp_path, monkeypatch):
    """Constant rate, new momentum, the row fixed, other rows learning; the best accuracy counts, patience ends it."""
    seen, values = [], iter([10.0, 30.0, 20.0, 30.0])

    def fit(bench, trainer, module, data):
        before = {name: a.clone() for name, a in module.arch.items()}
        weights = {name: value.clone() for name, value in module.state_dict().items()}
        sgd, _ = module.optimizer_states
        real(bench, trainer, module, data)
        seen.append((module, before, weights, sgd, trainer.optimizers[0].param_groups[0]["lr"]))

    real = strength.fit
    monkeypatch.setattr(strength, "fit", fit)
    monkeypatch.setattr(OneShotModel, "accuracy", lambda *_: next(values))
    bench, origin = origin_of(searched, tmp_path)
    images = strength.search_data(bench)
    images.setup("fit")
    found = Strength(patience=2, epochs=9, lr=0.004)._converge(origin, "normal", 4, 2, images)
    assert found == (30.0, 3)
    ((module, before, weights, sgd, lr),) = seen
    assert lr == 0.004
    assert sgd["state"] == {}
    mixing, active = module.at_mean()
    assert mixing["normal"][4].tolist() == [0, 0, 1]
    assert active["normal"][4].tolist() == [False, False, True]
    changed = (module.arch["normal"].detach() != before["normal"]).any(dim=1)
    assert changed.tolist() == [row != 4 for row in range(5)]
    assert (module.arch["reduce"].detach() != before["reduce"]).any()
    assert any(not torch.equal(module.state_dict()[name], value) for name, value in weights.items() if "edges" in name)
    # The operations that are out do not learn.
    dead = "supernet.cells.0.edges.4.operations"
    assert not [name for name in weights if name.startswith((f"{dead}.0", f"{dead}.1"))]


@pytest.mark.usefixtures("no_figure")
def test_architecture_that_stays(searched, tmp_path, monkeypatch):
    seen = []
    real = strength.fit
    monkeypatch.setattr(strength, "fit", lambda bench, trainer, module, data: seen.append(
        ({n: a.clone() for n, a in module.arch.items()}, real(bench, trainer, module, data), module)))  # fmt: skip
    analyse(searched, tmp_path / "a", "analysis.epochs=1", "analysis.rows=[0]", "analysis.train_arch=false")
    assert len(seen) == 3
    for before, _, module in seen:
        assert all(torch.equal(before[name], a) for name, a in module.arch.items())


def test_options_start_from_the_same_supernet(searched, tmp_path, monkeypatch):
    """Measured before or after another one, an option is trained to the same bits."""
    ends = []
    real = strength.fit
    monkeypatch.setattr(strength, "fit", lambda bench, trainer, module, data: ends.append(
        (real(bench, trainer, module, data), module.state_dict())[1]))  # fmt: skip
    bench, origin = origin_of(searched, tmp_path)
    images = strength.search_data(bench)
    images.setup("fit")
    found = [Strength(epochs=1)._converge(origin, "reduce", 3, option, images) for option in (1, 2, 1)]
    assert found[0] == found[2]
    assert all(torch.equal(value, ends[2][name]) for name, value in ends[0].items())
    assert not all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


@pytest.mark.usefixtures("no_figure")
def test_what_is_measured_is_not_measured_again(searched, tmp_path, monkeypatch):
    words = ["analysis.epochs=0", "analysis.rows=[3]"]
    whole = analyse(searched, tmp_path / "whole", *words)
    real, calls = Strength._converge, []

    def cut_off(self, origin, name, row, option, images):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append((row, option))
        return real(self, origin, name, row, option, images)

    monkeypatch.setattr(Strength, "_converge", cut_off)
    with pytest.raises(Interrupted, match="stopped in the analysis; continue with resume="):
        analyse(searched, tmp_path / "cut", *words)
    assert len(table(tmp_path / "cut")) == 2
    assert "analysis" not in json.loads((tmp_path / "cut" / "summary.json").read_text())
    rest = []
    monkeypatch.setattr(Strength, "_converge", lambda *args: rest.append(args[3:5]) or real(*args))
    summary = resume(tmp_path / "cut")
    assert len(rest) == 1
    assert not set(rest) & set(calls)
    assert {**summary["analysis"], "seconds": 0} == {**whole, "seconds": 0}
    rows, again = table(tmp_path / "whole"), table(tmp_path / "cut")
    assert [{**row, "seconds": ""} for row in rows] == [{**row, "seconds": ""} for row in again]
    resume(tmp_path / "cut")  # nothing is left
    assert len(rest) == 1


def test_rows_are_drawn_by_the_seed(searched, tmp_path):
    _, origin = origin_of(searched, tmp_path)
    _, module = origin.module()
    drawn = {tuple(Strength(rows=3, seed=seed)._chosen(module)[1]) for seed in range(20)}
    assert len(drawn) > 5
    assert all(len(set(rows)) == 3 and sorted(rows) == list(rows) for rows in drawn)
    assert Strength()._chosen(module) == Strength(seed=0)._chosen(module)  # the run's
    assert Strength(rows="all", choice="reduce")._chosen(module) == ("reduce", list(range(5)))


def test_decided_rows_are_no_candidates(searched, tmp_path):
    _, origin = origin_of(searched, tmp_path)
    _, module = origin.module()
    for row in range(3):
        module.decisions.decide("normal", row, 1)
    assert Strength(rows="all")._chosen(module)[1] == [3, 4]
    assert Strength(rows=2)._chosen(module)[1] == [3, 4]
    with pytest.raises(nl.ConfigError, match=r"analysis\.rows=\[2\]: row 2 was decided by the search; allowed: 3, 4"):
        Strength(rows=[2])._chosen(module)
    with pytest.raises(nl.ConfigError, match=r"analysis\.rows=3: 'normal' has 2 undecided rows"):
        Strength()._chosen(module)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["analysis.rows=[5]"], r"analysis\.rows=\[5\]: row 5 is not one of the 5 of 'normal'; .*analysis\.rows=all"),
        (["analysis.rows=6"], r"analysis\.rows=6: 'normal' has 5 undecided rows"),
        (["analysis.choice=cell"], r"analysis\.choice=cell: no such choice; allowed: normal, reduce; use analysis"),
        (["epoch=7"], r"epoch=7: .* allowed: 1, 2; a search keeps more with search\.snapshots"),
    ],
)
def test_mistakes(words, told, searched, tmp_path):
    with pytest.raises(nl.ConfigError, match=told) as caught:
        analyse(searched, tmp_path / "a", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()
