"""Fingerprints of images: equal for the same ones, however they are decoded, and different for others."""

import copy
import json
import shutil

import numpy as np
from PIL import Image

from nas_lightning.data.fingerprint import difference
from nas_lightning.data.folders import ImageFolder


def photos(folder, quality, seed=0):
    rng = np.random.default_rng(seed)
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.jpeg", quality=quality)
    return folder


def of(folder):
    images = ImageFolder(str(folder), image_size=16)
    images.prepare()
    return images.fingerprint()


def test_the_same_photos_elsewhere_are_known_again(tmp_path):
    kept = json.loads(json.dumps(of(photos(tmp_path / "here", 95))))
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert of(tmp_path / "there") == kept


def test_another_decoder_may_differ_by_a_grey_level(tmp_path):
    kept = of(photos(tmp_path / "here", 100))
    assert difference(kept, of(photos(tmp_path / "compressed", 96))) == ""
    assert "other train images" in difference(kept, of(photos(tmp_path / "others", 100, seed=1)))


def test_what_differs_is_named(tmp_path):
    kept = of(photos(tmp_path / "here", 95))
    for change, words in (
        (lambda found: found.update(classes=["a", "c"]), "the classes a, c (2), not a, b (2)"),
        (lambda found: found.update(image_size=32), "images of 32 pixels a side, not 16"),
        (lambda found: found.update(channels=1), "1 channels, not 3"),
        (lambda found: found["test"].update(images=1), "1 test images, not 2"),
        (lambda found: found["train"].update(labels="?"), "other labels, or another order of the train images"),
    ):
        found = copy.deepcopy(kept)
        change(found)
        assert difference(kept, found) == words
