"""What users bring: their own data module, photos, arrays, an ImageNet folder, through the command line's own path."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nas_lightning as nl
from conftest import TINY_SIZES
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task


def run(overrides, folder, config_dir=None):
    run_task(as_dict(nl.compose([*overrides, "trainer=cpu"], config_dir=config_dir)), RunFolder(folder))
    return json.loads((Path(folder) / "summary.json").read_text())


def test_a_users_data_module_trains_and_tests(tmp_path):
    (tmp_path / "conf/data").mkdir(parents=True)
    (tmp_path / "conf/data/mine.yaml").write_text("# Mine.\n_target_: lightning_parts.Blobs\nnumber: 40\n")
    words = ["data=mine", "protocol=arrays", "trusted=[lightning_parts]", "space=s2", "space.num_nodes=2"]
    summary = run([*words, *TINY_SIZES, "data.number=32"], tmp_path / "run", tmp_path / "conf")
    assert summary["data"] == "Blobs"
    assert summary["evaluation"]["test_accuracy"] is not None


def test_data_without_a_protocol_says_how_to_take_one(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.yaml").write_text("# Mine.\n_target_: lightning_parts.Blobs\n")
    with pytest.raises(nl.ConfigError, match="protocol=arrays"):
        nl.compose(["data=mine"], config_dir=tmp_path)


def photos(folder, sizes, classes=("cat", "dog", "owl")):
    rng = np.random.default_rng(0)
    for number, (name, count) in enumerate(zip(classes, sizes, strict=True)):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            shape = (int(rng.integers(20, 40)), int(rng.integers(20, 40)), 3)
            pixels = rng.integers(0, 120, shape, dtype=np.uint8)
            pixels[..., number] += 120
            Image.fromarray(pixels).save(folder / name / f"{index}.jpg")
    return folder


def test_photos_of_any_size_and_of_unequal_classes(tmp_path):
    path = photos(tmp_path / "photos", (30, 20, 10))
    words = ["data=image_folder", f"data.path={path}", "space=s3", "space.num_nodes=2", *TINY_SIZES]
    summary = run(words, tmp_path / "run")
    assert summary["objective"]["metric"] == "balanced_accuracy"
    assert (summary["space"], summary["data"]) == ("s3", "image_folder")


@pytest.mark.parametrize("recipe", ["imagenet_mobile", "imagenet_mobile_darts"])
def test_imagenet_recipes_train_on_a_small_folder(tmp_path, recipe):
    """Folder layout, ImageNet stem, auxiliary head, label smoothing, and both published learning rates."""
    for part, sizes in (("train", (6, 6)), ("val", (3, 3))):
        photos(tmp_path / "imagenet" / part, sizes, ("n01", "n02"))
    words = [
        "data=imagenet",
        f"data.root={tmp_path / 'imagenet'}",
        "data.num_workers=0",
        "data.image_size=224",
        "space=darts",
        "task=evaluate",
        "genotype=darts_v2",
        f"evaluation={recipe}",
    ]
    sizes = ["evaluation.epochs=2", "evaluation.batch_size=4", "evaluation.init_channels=4", "evaluation.layers=3"]
    summary = run([*words, *sizes], tmp_path / "run")
    evaluation = summary["evaluation"]
    assert evaluation["params_auxiliary"] > 0
    rows = (tmp_path / "run/metrics.csv").read_text().splitlines()
    rates = [float(row.split(",")[rows[0].split(",").index("lr")]) for row in rows[1:]]
    expected = [0.1, 0.2] if recipe == "imagenet_mobile" else [0.1, 0.097]
    assert rates == pytest.approx(expected)


def test_search_on_an_imagenet_folder(tmp_path):
    for part, sizes in (("train", (8, 8)), ("val", (3, 3))):
        photos(tmp_path / "imagenet" / part, sizes, ("n01", "n02"))
    words = ["data=imagenet", f"data.root={tmp_path / 'imagenet'}", "data.num_workers=0", "data.image_size=64"]
    sizes = ["search.epochs=2", "search.batch_size=4", "search.init_channels=4", "search.layers=3"]
    summary = run(
        [
            *words,
            *sizes,
            "task=search",
            "space=s2",
            "space.num_nodes=2",
            "search.arch.warmup_epochs=1",
            "search.weights.warmup_epochs=1",
        ],
        tmp_path / "run",
    )
    assert summary["search"]["epochs"] == 2
