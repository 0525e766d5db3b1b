"""task=landscape against supernets that are put together by hand."""

import csv
import json

import numpy as np
import pytest
import torch

import nas_lightning as nl
from analysed import supernet_by_hand
from nas_lightning.analyses import landscape
from nas_lightning.config.compose import as_dict, check_overrides_of_another_run
from nas_lightning.core.errors import Interrupted
from nas_lightning.curvature.landscape import directions
from nas_lightning.data import search_split
from nas_lightning.reports import collect
from nas_lightning.reports.landscape import limits
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.one_shot import OneShotModel
from nas_lightning.tasks.resume import resume
from nas_lightning.tasks.run import run_task

SMALL = ("task=landscape", "landscape.steps=3", "landscape.radius=2.0", "trainer=cpu")


def measure(folder, *words):
    return nl.landscape(nl.compose([*SMALL, *words]), run_dir=folder)


def table(folder):
    with (folder / "landscape.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def measured(searched, tmp_path_factory):
    """The run folder of a landscape, and its section of the summary."""
    folder = tmp_path_factory.mktemp("landscape") / "run"
    return folder, measure(folder, f"run={searched}")


def by_hand(searched, path, x, y, seed=0):
    """Loss and accuracy of the supernet after its last epoch, x and y along the directions; float64."""
    data, supernet, arch = supernet_by_hand(searched, path)
    first, second = directions({name: a.shape for name, a in arch.items()}, seed)
    mixing = {name: torch.softmax(a + x * first[name] + y * second[name], dim=1) for name, a in arch.items()}
    val = search_split(data.train_labels, "stratified").val
    images = torch.stack([data.dataset("train", augment=False)[index][0] for index in val]).double()
    labels = torch.as_tensor(data.train_labels[val])
    with torch.no_grad():
        outputs = supernet(images, mixing)
    loss = torch.nn.functional.cross_entropy(outputs, labels)
    return float(loss), 100 * float((outputs.argmax(dim=1) == labels).double().mean())


def test_values_by_hand(measured, searched, images_file):
    rows = table(measured[0])
    assert [(float(row["x"]), float(row["y"])) for row in rows] == [(x, y) for y in (-2, 0, 2) for x in (-2, 0, 2)]
    values = {by_hand(searched, images_file, float(row["x"]), float(row["y"])) for row in rows}
    assert len(values) == 9
    for row in rows:
        loss, accuracy = by_hand(searched, images_file, float(row["x"]), float(row["y"]))
        assert float(row["loss"]) == pytest.approx(loss, rel=1e-5)
        assert float(row["accuracy"]) == pytest.approx(accuracy, abs=1e-3)


def test_the_seed_of_the_directions(searched, images_file, tmp_path):
    measure(tmp_path / "a", f"run={searched}", "landscape.seed=3", "landscape.images=null", "landscape.batch_size=7")
    row = table(tmp_path / "a")[2]
    assert float(row["loss"]) == pytest.approx(by_hand(searched, images_file, 2, -2, seed=3)[0], rel=1e-5)


@pytest.mark.slow
def test_fewer_images(searched, measured, tmp_path):
    """The first batch of 16 of the 20 images of val, in the order of the search."""
    measure(tmp_path / "a", f"run={searched}", "landscape.images=3", "landscape.batch_size=16")
    shares = [float(row["accuracy"]) * 16 / 100 for row in table(tmp_path / "a")]
    assert shares == pytest.approx([round(share) for share in shares])
    assert [row["loss"] for row in table(tmp_path / "a")] != [row["loss"] for row in table(measured[0])]


def test_run_folder_and_summary(measured, searched):
    folder, found = measured
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    figures = {"plots/landscape_loss.svg", "plots/landscape_accuracy.svg"}
    assert names == {"config.yaml", "summary.json", "landscape.csv", *figures}
    summary = json.loads((folder / "summary.json").read_text())
    assert {**summary["landscape"], "seconds_per_point": 0} == {**found, "seconds_per_point": 0}
    assert (summary["task"], summary["method"], summary["search"]) == ("landscape", "darts", None)
    (run,) = found["runs"]
    assert (run["run"], run["epoch"], run["method"]) == (str(searched), 2, "darts")

    x, y, loss = (np.array([float(row[key]) for row in table(folder)]) for key in ("x", "y", "loss"))
    design = np.stack([np.ones(9), x, y, x * x, x * y, y * y], axis=1)
    _, _, _, xx, xy, yy = np.linalg.solve(design.T @ design, design.T @ loss)
    curvatures = sorted(np.linalg.eigvalsh([[2 * xx, xy], [xy, 2 * yy]]), key=lambda value: -abs(value))
    assert run["loss"]["curvatures"] == pytest.approx(curvatures, rel=1e-6)
    assert run["loss"]["ratio"] == pytest.approx(abs(curvatures[0] / curvatures[1]), rel=1e-6)
    assert run["centre"]["loss"] == loss[4]
    assert run["loss"]["mean_at_radius"]["1"] == pytest.approx(np.delete(loss, 4).mean(), rel=1e-9)  # 2 ± 1
    assert found["limits"]["loss"] == [loss.min(), loss.max()]


def test_the_searched_run_is_only_read_and_the_report_passes_over_landscapes(searched, tmp_path):
    before = {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()}
    measure(tmp_path / "a", f"run={searched}", "epoch=1")
    assert {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()} == before
    assert not [path for path in before if path.name == "landscape.csv"]
    with pytest.raises(nl.ConfigError, match="finds no run"):
        collect(str(tmp_path / "a"))


@pytest.mark.slow
def test_a_landscape_that_was_cut_off_goes_on(measured, searched, tmp_path, monkeypatch):
    """Stopped by Ctrl-C, then half a row as a kill leaves it: what is measured stays, the rest is measured."""
    calls = []

    def cut_off(self, *args):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(self, *args)

    real = OneShotModel.loss_and_accuracy
    monkeypatch.setattr(OneShotModel, "loss_and_accuracy", cut_off)
    with pytest.raises(Interrupted, match="stopped in the landscape; continue with resume="):
        measure(tmp_path / "cut", f"run={searched}")
    assert len(table(tmp_path / "cut")) == 4
    whole = (tmp_path / "cut" / "landscape.csv").read_text()
    (tmp_path / "cut" / "landscape.csv").write_text(whole[:-9])
    calls.clear()
    monkeypatch.setattr(OneShotModel, "loss_and_accuracy", lambda self, *args: calls.append(args) or real(self, *args))
    summary = resume(tmp_path / "cut")
    assert len(calls) == 6
    assert (tmp_path / "cut" / "landscape.csv").read_bytes() == (measured[0] / "landscape.csv").read_bytes()
    assert {**summary["landscape"], "seconds_per_point": 0} == {**measured[1], "seconds_per_point": 0}
    resume(tmp_path / "cut")
    assert len(calls) == 6, "nothing is left"


@pytest.mark.slow
def test_several_runs_stand_in_one_figure(searched, images_file, tmp_path, caplog):
    """Another method of the space is looked at along the same directions; what has no supernet is passed over."""
    data = ["data=arrays", f"data.path={images_file}", "space=s3", "space.num_nodes=2", "~callbacks.curvature"]
    sizes = ["search.epochs=1", "search.init_channels=2", "search.layers=3", "search.batch_size=16", "trainer=cpu"]
    nl.search(nl.compose([*data, *sizes, "method=drnas", "space.operations=[none,skip_connect,sep_conv_3x3]"]),
              run_dir=tmp_path / "other")  # fmt: skip
    runs = f"runs=[{searched},{tmp_path / 'other'}]"
    found = measure(tmp_path / "a", runs)
    assert [run["method"] for run in found["runs"]] == ["darts", "drnas"]
    rows = table(tmp_path / "a")
    assert len(rows) == 18
    assert {row["run"] for row in rows} == {str(searched), str(tmp_path / "other")}
    losses = [float(row["loss"]) for row in rows]
    assert found["limits"]["loss"] == [min(losses), max(losses)]
    assert "other architecture parameters" not in caplog.text
    drawn = (tmp_path / "a" / "plots" / "landscape_loss.svg").read_text()
    assert "darts, s3" in drawn
    assert "drnas, s3" in drawn


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], r"run=null: task=landscape needs the supernet of a search; give run=outputs"),
        (["run=nowhere"], r"run=nowhere: there is no run"),
        (
            ["run=SEARCHED", "runs=x"],
            r"run=.*: cannot be combined with runs; give both folders as runs=\[FOLDER,FOLDER\]",
        ),
        (["runs=nowhere"], r"runs='nowhere' finds no run"),
        (["run=SEARCHED", "epoch=7"], r"epoch=7: .*keeps"),
        (["run=LOOKED"], r"task=landscape has no search; give the run of a search"),
    ],
)
def test_mistakes(words, told, searched, measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [word.replace("SEARCHED", str(searched)).replace("LOOKED", str(measured[0])) for word in words]
    with pytest.raises(nl.ConfigError, match=told) as caught:
        run_task(as_dict(nl.compose([*SMALL, *words])), RunFolder("here"))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_grid_has_a_centre():
    with pytest.raises(nl.ConfigError, match=r"landscape\.steps=4: must be odd, .*landscape\.steps=5"):
        nl.compose(["task=landscape", "landscape.steps=4"])


def test_a_method_without_architecture_parameters_is_refused(searched, tmp_path, monkeypatch):
    """All weights are 1/O there: nothing would change over the plane."""
    monkeypatch.setattr(landscape, "moved", lambda arch, *_: dict(arch))
    with pytest.raises(nl.ConfigError, match=r"do not depend on architecture parameters after epoch 2: .*epoch=K"):
        measure(tmp_path / "a", f"run={searched}")


def test_overrides_that_it_would_not_listen_to():
    check_overrides_of_another_run(["task=landscape", "landscape.steps=5", "run=a", "epoch=3", "trainer=gpu"])
    with pytest.raises(nl.ConfigError, match=r"seed=3: task=landscape uses the configuration of its run"):
        check_overrides_of_another_run(["task=landscape", "run=a", "seed=3"])


def test_limits():
    assert limits([1.0, 3.0, 2.0]) == (1.0, 3.0)
    low, high = limits([5.0, 5.0])
    assert low < 5 < high
