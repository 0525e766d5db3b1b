"""Squares of the photos of scikit-image: which pixels they are, and that no test pixel is in a training image."""

import importlib.machinery
import json

import numpy as np
import pytest
import torch
from PIL import Image

import nas_lightning as nl
from conftest import TINY_SIZES
from nas_lightning.config.compose import as_dict
from nas_lightning.core.errors import DataError
from nas_lightning.data import ImageFolder, Textures, textures
from nas_lightning.data.textures import PHOTOS, SIDE, cut
from nas_lightning.data.transforms import Standardise
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("skimage")
    data = Textures()
    data.prepare()
    return data


def numbered(height, width):
    """A photo [1, H, W] of which every pixel has a number of its own."""
    return torch.arange(height * width).view(1, height, width)


@pytest.mark.parametrize(("height", "width"), [(32, 128), (300, 451), (100, 130)])
def test_no_pixel_is_in_two_squares(height, width):
    train, test = cut(numbered(height, width))
    pixels = torch.cat([train, test])
    assert len(pixels.unique()) == pixels.numel()
    assert len(pixels) == (height // SIDE) * (width // SIDE)


def test_test_squares_are_those_of_the_right_quarter():
    train, test = cut(numbered(70, 8 * SIDE + 5))
    assert (len(train), len(test)) == (2 * 6, 2 * 2)
    assert int((train % (8 * SIDE + 5)).max()) < 6 * SIDE <= int((test % (8 * SIDE + 5)).min())


def test_a_square_is_a_part_of_the_photo():
    photo = numbered(70, 130)
    train, test = cut(photo)
    assert torch.equal(train[4], photo[:, 32:64, 32:64])  # three columns, row by row
    assert torch.equal(test[1], photo[:, 32:64, 96:128])


def test_images_are_the_photos_that_scikit_image_shows(data):
    """Photo by photo, read by scikit-image's own functions and cut by a plain loop."""
    shown = pytest.importorskip("skimage.data")
    for label, (name, function) in enumerate([("astronaut", "astronaut"), ("brick", "brick"), ("cat", "chelsea")]):
        photo = getattr(shown, function)()
        photo = np.broadcast_to(photo[..., None], (*photo.shape, 3)) if photo.ndim == 2 else photo
        rows, columns = photo.shape[0] // SIDE, photo.shape[1] // SIDE
        expected = {"train": [], "test": []}
        for row in range(rows):
            for column in range(columns):
                square = photo[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
                expected["test" if column >= columns - columns // 4 else "train"].append(square)
        assert data.class_names[label] == name
        for part, labels in (("train", data.train_labels), ("test", data.test_labels)):
            ours = data._images[part][torch.from_numpy(labels == label)].permute(0, 2, 3, 1).numpy()
            assert np.array_equal(ours, np.stack(expected[part]))


def test_a_large_photo_is_averaged(data, monkeypatch):
    shown = pytest.importorskip("skimage.data").hubble_deep_field().astype(float)
    label = data.class_names.index("galaxies")
    ours = data._images["train"][torch.from_numpy(data.train_labels == label)][0].permute(1, 2, 0).numpy()
    means = shown[: 2 * SIDE, : 2 * SIDE].reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3))
    assert np.abs(ours - means).max() <= 2  # rounding, and two decoders of JPEG


def test_sizes(data):
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("textures", 3, 32, 10)
    assert data.class_names == tuple(PHOTOS)
    assert len(data.train_labels) == len(data._images["train"]) == 1732
    assert len(data.test_labels) == len(data._images["test"]) == 541
    for labels in (data.train_labels, data.test_labels):
        assert np.bincount(labels, minlength=10).min() >= 24


def test_images_are_normalised_and_in_colour(data):
    images = torch.stack([image for image, _ in data.dataset("train", augment=False)])
    assert torch.allclose(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(images.std((0, 2, 3)), torch.ones(3), atol=1e-3)
    coloured = {int(label) for image, label in zip(data._images["test"], data.test_labels, strict=True)
                if not torch.equal(image[0], image[2])}  # fmt: skip
    grey = {data.class_names.index(name) for name in ("brick", "grass", "gravel")}
    assert coloured == set(range(10)) - grey


def test_training_images_are_cropped_and_mirrored(data):
    dataset, plain = data.dataset("train", augment=True), data._images["train"][0]
    normalise = Standardise(data.mean, data.std)
    padded = torch.nn.functional.pad(plain, (4, 4, 4, 4))
    crops = [padded[:, row : row + SIDE, column : column + SIDE] for row in range(9) for column in range(9)]
    allowed = [normalise(crop) for crop in (*crops, *(crop.flip(-1) for crop in crops))]
    found = set()
    for _ in range(40):
        image = dataset[0][0]
        places = [place for place, other in enumerate(allowed) if torch.equal(image, other)]
        assert places
        found.add(places[0])
    assert len(found) > 10
    assert min(found) < 81 <= max(found)


def test_the_images_are_the_same_again(data):
    again = Textures()
    again.prepare()
    assert torch.equal(again._images["train"], data._images["train"])
    assert np.array_equal(again.test_labels, data.test_labels)


def test_without_scikit_image_one_line_names_the_extra(monkeypatch):
    monkeypatch.setattr(textures, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"^data=textures: .*scikit-image; .*pip install 'nas-lightning\[textures\]'$"):
        Textures().prepare()


def test_photos_that_are_not_shipped_are_named(monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    for file, _ in PHOTOS.values():
        (tmp_path / "data" / file).touch()
    (tmp_path / "data/brick.png").unlink()
    spec = importlib.machinery.ModuleSpec("skimage", None, is_package=True)
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(textures, "find_spec", lambda name: spec)
    with pytest.raises(DataError, match=r"ships without brick\.png; install its wheel: pip install"):
        Textures().prepare()


def test_written_images_are_read_back_as_photos(data, tmp_path):
    folder = data.write(tmp_path / "photos")
    with Image.open(folder / "train/astronaut/0000.png") as image:
        assert np.array_equal(np.asarray(image), data._images["train"][0].permute(1, 2, 0).numpy())
    read = ImageFolder(str(folder), image_size=SIDE)
    read.prepare()
    assert read.class_names == data.class_names
    assert np.array_equal(read.train_labels, data.train_labels)
    assert np.array_equal(read.test_labels, data.test_labels)
    with pytest.raises(DataError, match="exists already; give the name of a new folder"):
        data.write(folder)


@pytest.mark.slow
def test_a_search_and_a_retraining_run_on_them(data, tmp_path):
    words = ["data=textures", *TINY_SIZES, "trainer=cpu", "~callbacks.curvature"]
    words += [f"trainer.limit_{images}_batches={number}" for images, number in (("train", 1), ("val", 2), ("test", 2))]
    run_task(as_dict(nl.compose(words)), RunFolder(tmp_path / "run"))
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["space"], summary["data"]) == ("s3", "textures")
    assert 0 <= summary["evaluation"]["test_accuracy"] <= 100
