"""Photos of more than 8 bits from training to prediction, and what a user is told on the way."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import nas_lightning as nl
from conftest import TINY_SIZES

CELL = "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|nor_conv_3x3~2|"
RNG = np.random.default_rng(6)


def fill(folder, factor, dtype, offsets=(0, 120)):
    """A dark and a light class of the same levels, 0 to 255, times a factor."""
    for label, offset in zip(("dark", "light"), offsets, strict=True):
        (folder / label).mkdir(parents=True)
        for i in range(8):
            levels = RNG.integers(0, 130, (18, 18)) + offset
            Image.fromarray((levels * factor).astype(dtype)).save(folder / label / f"{i}.png")
    return folder


def train(folder, photos, *words):
    sizes = [word for word in TINY_SIZES if word.startswith("evaluation.")]
    config = ["task=evaluate", "trainer=cpu", "~callbacks.curvature", *sizes, "space=nasbench201", f"genotype={CELL}"]
    config += ["evaluation.layers=1", "data=image_folder", f"data.path={photos}", "data.num_workers=0"]
    nl.evaluate(nl.compose([*config, "data.image_size=16", *words]), run_dir=folder)
    return folder


@pytest.fixture
def run(tmp_path, capsys):
    photos = fill(tmp_path / "photos", 16, np.uint16)  # 12 bits in 16
    (photos / "dark" / "raw.heic").write_bytes(b"x")
    return train(tmp_path / "run", photos, "data.background=40")


def predict(tmp_path, run, images):
    return nl.predict(
        nl.compose(["task=predict", "trainer=cpu", f"run={run}", f"images={images}"]), run_dir=tmp_path / "labels"
    )


def test_the_scale_of_the_training_is_that_of_the_prediction(run, tmp_path, capsys):
    described = json.loads((run / "network.json").read_text())["preprocessing"]
    assert (described["white"], described["background"]) == (4095, 40)
    same = fill(tmp_path / "same", 16, np.uint16)
    for path in same.rglob("*.png"):  # the same levels in 8 bits, within a level of 255 / 4095 · 16
        with Image.open(path) as image:
            eight = np.rint(np.asarray(image) * (255 / 4095)).astype(np.uint8)
        (tmp_path / "eight" / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(eight).save(tmp_path / "eight" / path.parent.name / path.name)
    deep, plain = (predict(tmp_path, run, tmp_path / name) for name in ("same", "eight"))
    assert len(deep) == len(plain) == 16
    assert [found.labels for found in deep] == [found.labels for found in plain]
    torch.testing.assert_close([found.probabilities for found in deep], [found.probabilities for found in plain])


def test_a_user_is_told_what_was_found_and_what_is_unlike(run, tmp_path, capsys, caplog):
    assert predict(tmp_path, run, tmp_path / "photos")
    assert "unlike" not in caplog.text
    assert "1 left out (1 .heic)" in capsys.readouterr().out
    predict(tmp_path, run, fill(tmp_path / "faint", 1, np.uint16))  # 8 bits in 16: nearly black on this scale
    assert "they are unlike the training images: they have mean 0.0" in caplog.text
    beyond = predict(tmp_path, run, tmp_path / "photos" / "dark" / "0.png")
    assert not beyond[0].error
    (tmp_path / "mixed").mkdir()
    Image.new("L", (20, 20), 90).save(tmp_path / "mixed" / "a.png")
    Image.fromarray(np.full((20, 20), 50000, np.uint16)).save(tmp_path / "mixed" / "b.png")
    errors = [found.error for found in predict(tmp_path, run, tmp_path / "mixed")]
    assert errors[0] == ""
    assert "to 50000, allowed: 0 (black) to 4095 (white)" in errors[1]


def test_a_run_prints_one_line_about_its_images(tmp_path, capsys):
    photos = fill(tmp_path / "photos", 1, np.uint8)
    (photos / "dark").rename(photos / "[red] dark")  # no markup
    (photos / "light" / "a.heic").write_bytes(b"x")
    train(tmp_path / "run", photos)
    lines = [line for line in capsys.readouterr().out.splitlines() if " classes: " in line]
    assert lines == ["2 classes: [red] dark, light · 16 images (13 to train on, 3 to test on) · 1 left out (1 .heic)"]
