"""A network that predicts a number, taken away: the run, its export and the stand-alone script agree."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import nas_lightning as nl
from nas_lightning.config.compose import as_dict
from nas_lightning.deployment import TrainedNetwork
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task
from nas_lightning.tasks.trained import trained_network


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A regression on photos in folders that are numbers: 2, 10 and 30 years."""
    root = tmp_path_factory.mktemp("ages")
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 3)):
        for age in (2, 10, 30):
            (root / "photos" / part / str(age)).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 60, (12, 12, 3)) + 6 * age
                Image.fromarray(pixels.astype(np.uint8)).save(root / "photos" / part / str(age) / f"{index}.png")
    words = ["data=image_folder", f"data.path={root}/photos", "data.image_size=12", "space=s3", "trainer=cpu"]
    words += ["objective=regression", "objective.unit=years", "~callbacks.curvature", "search.epochs=1"]
    words += ["search.init_channels=2", "search.layers=3", "search.batch_size=8", "evaluation.batch_size=8"]
    words += ["evaluation.epochs=6", "evaluation.init_channels=4", "evaluation.layers=3", "evaluation.auxiliary=0"]
    words += ["evaluation.cutout=0", "evaluation.warmup_epochs=0"]
    run_task(as_dict(nl.compose(words)), RunFolder(root / "run"))
    return root / "run"


@pytest.fixture(scope="module")
def photos(run):
    return run.parent / "photos" / "test"


@pytest.mark.slow
def test_predictions_give_the_error_of_the_summary(run, photos, tmp_path):
    found = nl.predict(run, photos, tmp_path / "out")
    truth = [float(prediction.path.split("/")[-2]) for prediction in found]
    error = np.mean([abs(prediction.value - age) for prediction, age in zip(found, truth, strict=True)])
    assert error == pytest.approx(RunFolder(run).summary()["evaluation"]["test_metric"], rel=1e-3)
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == ["path", "value", "error"]
    assert [float(row["value"]) for row in rows] == pytest.approx([prediction.value for prediction in found], rel=1e-5)


@pytest.mark.slow
def test_the_export_gives_the_same_numbers(run, photos, tmp_path):
    nl.export(run, tmp_path / "export", ["export.onnx=true"])
    card = json.loads((tmp_path / "export" / "export.json").read_text())
    assert card["output"] == {"name": "value", "shape": ["batch", 1]}
    trained, network, _ = trained_network(nl.compose([f"run={run}", "task=export"]))
    assert TrainedNetwork.load(tmp_path / "export").number == trained.number
    images = torch.rand(3, 3, 12, 12)
    program = torch.export.load(tmp_path / "export" / "network.pt2").module()
    with torch.no_grad():
        outputs = network.eval()(
            (images - torch.tensor(trained.mean).view(3, 1, 1)) / torch.tensor(trained.std).view(3, 1, 1)
        )
    numbers = outputs * trained.number.std + trained.number.mean
    torch.testing.assert_close(program(images), numbers, rtol=1e-4, atol=1e-4)
    expected = nl.predict(run, photos, tmp_path / "out")
    script = [sys.executable, "predict.py", str(photos)]
    shown = subprocess.run([*script, "--csv"], cwd=tmp_path / "export", capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(shown.stdout.splitlines()))
    assert [row["path"] for row in rows] == [prediction.path for prediction in expected]
    assert [float(row["value"]) for row in rows] == pytest.approx([p.value for p in expected], rel=1e-3, abs=1e-3)
    line = subprocess.run(script, cwd=tmp_path / "export", capture_output=True, text=True, check=True).stdout
    assert line.splitlines()[0].endswith(" years")


def test_integers_are_refused_where_their_cost_cannot_be_told(run, tmp_path):
    with pytest.raises(nl.ConfigError, match=r"predicts a number; use export\.int8=false"):
        nl.export(run, tmp_path / "export", ["export.int8=true", "export.onnx=true"])
