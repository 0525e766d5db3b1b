"""Runs to a table and back: the means by hand, what is left out, what is refused."""

import json
import shutil

import pandas as pd
import pytest

import nas_lightning as nl
from nas_lightning.convert import Runs
from nas_lightning.core.errors import ConfigError
from nas_lightning.evaluation.table import load
from nas_lightning.spaces.enumeration import architecture


@pytest.fixture(scope="module")
def trained(images_file, tmp_path_factory):
    """One real run of an architecture of S5 on tiny images."""
    from conftest import TINY_SIZES

    folder = tmp_path_factory.mktemp("runs") / "original"
    words = ["task=evaluate", "space=s5", "genotype=80", "data=arrays", f"data.path={images_file}", "trainer=cpu"]
    nl.evaluate(nl.compose([*words, *TINY_SIZES, "evaluation.epochs=1"]), run_dir=folder)
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    """Makes run folders of other architectures, seeds and accuracies, as the real one has them."""
    space = nl.build_space(nl.compose(["space=s5"]))

    def make(number, seed, accuracy):
        folder = tmp_path / "runs" / f"{number}-{seed}"
        shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoints", "plots"))
        summary = json.loads((folder / "summary.json").read_text())
        summary["seed"] = seed
        summary["evaluation"]["test_accuracy"] = accuracy
        (folder / "summary.json").write_text(json.dumps(summary))
        network = json.loads((folder / "network.json").read_text())
        network["genotype"] = architecture(space, number).to_dict()
        (folder / "network.json").write_text(json.dumps(network))
        return folder

    return make


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_there_and_back(runs, tmp_path, caplog, ending):
    given = {0: [90.0, 92.0], 7: [80.0, 81.0], 80: [50.25, 52.0]}
    for number, accuracies in given.items():
        for seed, accuracy in enumerate(accuracies):
            runs(number, seed, accuracy)
    runs(5, 1, 77.0)  # of seed 0 there is none
    runs(6, 0, None)  # not finished
    path = str(tmp_path / f"table.{ending}")
    caplog.set_level("INFO")
    Runs(str(tmp_path / "runs"), path)()
    table = load(path)
    name = "arrays_test_1"
    space = nl.build_space(nl.compose(["space=s5"]))
    found = {number: table.value(architecture(space, number).architecture, name) for number in (0, 5, 7, 80)}
    assert found == {0: 91.0, 5: 77.0, 7: 80.5, 80: 51.125}
    assert len(table.rows) == 4
    assert table.regret(architecture(space, 80).architecture, name) == 39.875
    assert table.contents.space == "s5"
    trained = table.contents.datasets["arrays"]
    assert (trained.epochs, trained.init_channels, trained.layers, trained.image_size) == ((1,), 4, 3, 8)
    told = table.contents.about["arrays"]
    assert (told["architectures"], told["seeds"]) == ("3 of 81", [0, 1])
    assert told["spread"]["within"] == pytest.approx(((2 + 0.5 + 1.75**2 / 2) / 3) ** 0.5, abs=1e-4)
    assert told["training"]["evaluation.batch_size"] == "16"
    assert "78 of 81 architectures of arrays lack trainings" in caplog.text
    frame = pd.read_csv(path, comment="#")
    assert list(frame) == ["number", "architecture", name, f"{name}_seed0", f"{name}_seed1"]
    assert list(frame["number"]) == [0, 5, 7, 80]
    assert frame[f"{name}_seed0"].isna().tolist() == [False, True, False, False]


def test_what_is_refused(runs, tmp_path):
    target = str(tmp_path / "table.csv")
    with pytest.raises(ConfigError, match=r"convert\.source=null"):
        Runs(None, target)()
    with pytest.raises(ConfigError, match=r"convert\.source=.*has no finished run .*experiment=s5_ground_truth"):
        Runs(str(tmp_path), target)()
    runs(3, 0, 50.0)
    other = runs(4, 0, 60.0)
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("lr: 0.025\n  lr_min: 0.0\n", "lr: 0.05\n  lr_min: 0.0\n"))
    assert (other / "config.yaml").read_text() != config
    with pytest.raises(ConfigError, match=r"evaluation\.lr is 0\.025 in .*3-0 and 0\.05 in .*4-0"):
        Runs(str(tmp_path / "runs"), target)()
    shutil.rmtree(other)
    shutil.copytree(runs(3, 1, 50.0), tmp_path / "runs" / "again")
    summary = tmp_path / "runs" / "again" / "summary.json"
    summary.write_text(summary.read_text().replace("50.0", "51.0"))
    with pytest.raises(
        ConfigError, match=r"architecture 3 was trained twice with seed 1, to 50 and 51 %|to 51 and 50 %"
    ):
        Runs(str(tmp_path / "runs"), target)()
