"""The Python API takes plain paths and texts where a configuration would only name a run, images or a sweep."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import nas_lightning as nl
from exported import CLASSES, export
from nas_lightning.data.preprocessing import Preprocessing

HALF, FULL = 391, 521
"""Steps of an epoch on CIFAR-10: 25,000 images in batches of 64, 50,000 in batches of 96."""


def changed(words, **values):
    """A configuration that a script changes after `compose`."""
    config = nl.compose(words)
    for key, value in values.items():
        config[key] = value
    return config


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """An export and photos, in folders whose names are no words of Hydra's grammar."""
    home = tmp_path_factory.mktemp("it's = [a], ü")
    rng = np.random.default_rng(0)
    (home / "my photos").mkdir()
    for index in range(3):
        pixels = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(home / "my photos" / f"{index}.png")
    return export(home / "ex{po}rt", Preprocessing(3, 16, 18), onnx=False), home / "my photos"


def test_predictions_of_a_folder(places, tmp_path):
    folder, photos = places
    found = nl.predict(str(folder), str(photos), tmp_path / "a")
    assert [Path(one.path).name for one in found] == ["0.png", "1.png", "2.png"]
    assert all(sorted(one.labels) == sorted(CLASSES) for one in found)
    assert (tmp_path / "a" / "predictions.csv").is_file()
    (single,) = nl.predict(folder, photos / "1.png", run_dir=tmp_path / "b", overrides=["predict.top=1"])
    assert single.labels == found[1].labels[:1]
    assert single.probabilities == pytest.approx(found[1].probabilities[:1], abs=1e-6)


def test_a_configuration_still_comes_with_the_folder_of_the_output(places, tmp_path):
    config = changed(["task=predict"], run=str(places[0]), images=str(places[1]))
    expected = nl.predict(places[0], places[1], tmp_path / "a")
    assert nl.predict(config, tmp_path / "b") == expected
    assert nl.predict(config, run_dir=str(tmp_path / "c")) == expected
    assert all((tmp_path / name / "predictions.csv").is_file() for name in "bc")


def test_an_export_of_a_folder(places, tmp_path):
    made = nl.export(places[0], tmp_path / "a", ["export.onnx=false"])
    assert made["run"] == str(places[0])
    assert json.loads((tmp_path / "a" / "export.json").read_text()) == made
    config = changed(["task=export", "export.onnx=false"], run=str(places[0]))
    again = nl.export(config, tmp_path / "b")
    assert again["largest_difference"] == made["largest_difference"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: nl.predict(folder), r"images=None: which images should .* Give nl\.predict\(RUN, IMAGES\)"),
        (lambda folder: nl.export(folder, overrides=["seed=3"]), r"seed=3: task=export uses the configuration of its"),
        (lambda folder: nl.export("nowhere"), r"run=nowhere: there is no run"),
        (lambda folder: nl.report("nowhere/**"), r"nowhere"),
        (
            lambda folder: nl.export(nl.compose(["task=export"]), overrides=["export.onnx=false"]),
            r"overrides=\['export.onnx=false'\]: beside a configuration; give them to nl\.compose",
        ),
    ],
)
def test_mistakes(call, message, places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(nl.ConfigError, match=message) as caught:
        call(places[0])
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_report_of_folders(searched, tmp_path):
    table = nl.report(searched, tmp_path / "one")
    assert isinstance(table, pd.DataFrame)
    assert table["method"].tolist() == ["darts"]
    assert (tmp_path / "one" / "report.html").is_file()
    pd.testing.assert_frame_equal(nl.report([searched, str(searched)], tmp_path / "two"), table)
    config = changed(["task=report"], runs=str(searched))
    pd.testing.assert_frame_equal(nl.report(config, tmp_path / "three"), table)


def test_plans_of_words_and_of_one_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["data=cifar10", "method=darts", "plan.measure=false"]
    swept = nl.plan([*words, "seed=0,1,2"])
    assert (swept.runs, len(swept.members)) == (3, 1)
    one = nl.plan(nl.compose(["task=plan", *words]))
    assert (one.runs, one.choices, one.seconds) == (1, {}, {})
    for made in (swept, one):
        assert made.members[0].work.total("search step") == 50 * HALF
        assert made.members[0].work.total("training step") == 600 * FULL
    searched_only = changed(["task=search", *words[:2]], plan={"measure": False})
    assert nl.plan(searched_only).members[0].work.total("training step") == 0
    assert list(tmp_path.iterdir()) == []


def test_one_override_and_a_folder_for_the_tables(tiny, tmp_path):
    config = nl.compose([*tiny, "task=plan", "plan.seconds=0.1"])
    made = nl.plan(config, tmp_path / "kept")
    assert made.seconds
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"plan.csv", "steps.csv"}
    with pytest.raises(nl.ConfigError, match="no_such"):
        nl.plan("method=no_such")
