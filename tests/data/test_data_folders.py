"""Photos in folders, written here with PIL, and a small ImageNet."""

import numpy as np
import pytest
import torch
from PIL import Image

from nas_lightning.core.errors import DataError
from nas_lightning.data import ImageFolder, ImageNet, folders
from nas_lightning.data.folders import typical_size

RNG = np.random.default_rng(0)


def photo(path, width=40, height=30, colour=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width, 3)
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8) if colour is None else np.full(shape, colour, np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    for i in range(10):
        photo(root / "cat" / f"{i}.jpg", 40 + i, 30)
        photo(root / "dog" / "deeper" / f"{i}.PNG", 30, 44)
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / "cat" / "._0.jpg").write_text("left by a Mac")
    (root / ".hidden").mkdir()
    return root


def test_one_folder_a_class(pets):
    data = ImageFolder(str(pets))
    data.prepare()
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("image_folder", 3, 24, 2)
    assert data.class_names == ("cat", "dog")
    assert np.bincount(data.train_labels).tolist() == [8, 8]
    assert np.bincount(data.test_labels).tolist() == [2, 2]
    for part, augment in (("train", True), ("train", False), ("test", False)):
        dataset = data.dataset(part, augment)
        shapes = {image.shape for image, _ in (dataset[i] for i in range(len(dataset)))}
        assert shapes == {(3, 24, 24)}


def test_the_split_is_the_same_in_every_run(pets):
    one, two = ImageFolder(str(pets)), ImageFolder(str(pets))
    torch.manual_seed(1)
    first = one.dataset("test", augment=False)[0][0]
    torch.manual_seed(2)
    assert torch.equal(two.dataset("test", augment=False)[0][0], first)


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_given_parts_are_kept(tmp_path, held_out):
    for name, count in (("train", 3), (held_out, 2)):
        for label, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
            for i in range(count):
                photo(tmp_path / name / label / f"{i}.png", colour=colour)
    data = ImageFolder(str(tmp_path), image_size=16)
    data.prepare()
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test_labels.tolist() == [0, 0, 1, 1]
    assert data.mean == pytest.approx((0.5, 0, 0.5))
    assert data.std == pytest.approx((0.5, 1, 0.5))
    for part in ("train", "test"):
        dataset = data.dataset(part, augment=part == "train")
        for i in range(len(dataset)):
            image, label = dataset[i]
            expected = torch.tensor([1.0, 0.0, -1.0] if label else [-1.0, 0.0, 1.0])
            torch.testing.assert_close(image, expected.view(3, 1, 1).expand(3, 16, 16))


def test_test_wins_over_val_and_a_class_may_be_called_train(tmp_path):
    for part in ("train", "test", "val"):
        for label in "ab":
            for i in range(2):
                photo(tmp_path / "parts" / part / label / f"{i}{part}.png")
    data = ImageFolder(str(tmp_path / "parts"), image_size=16)
    data.prepare()
    assert data.class_names == ("a", "b")
    assert len(data.train_labels) == len(data.test_labels) == 4
    for label in ("train", "bus"):
        for i in range(3):
            photo(tmp_path / "vehicles" / label / f"{i}.png")
    data = ImageFolder(str(tmp_path / "vehicles"), image_size=16)
    data.prepare()
    assert data.class_names == ("bus", "train")


@pytest.mark.parametrize(("shorter", "expected"), [([9], 16), ([30, 33, 200], 32), ([999], 224), ([64], 64)])
def test_the_size_is_the_median_shorter_side(tmp_path, shorter, expected):
    paths = [str(photo(tmp_path / f"{i}.png", side + 5, side)) for i, side in enumerate(shorter)]
    assert typical_size(paths) == expected
    assert typical_size(paths, 64) == min(expected, 64)


def test_photos_are_turned_upright(tmp_path):
    for label in "ab":
        for i in range(4):
            pixels = np.zeros((28, 28, 3), np.uint8)
            pixels[:14] = 255  # white above, but stored lying: the tag says to turn by a quarter
            turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
            exif = Image.Exif()
            exif[0x0112] = 6
            path = tmp_path / label / f"{i}.jpg"
            path.parent.mkdir(exist_ok=True)
            turned.save(path, exif=exif, quality=95)
    image, _ = ImageFolder(str(tmp_path), image_size=24).dataset("test", augment=False)[0]
    assert image[:, :10].min() > 0.5
    assert image[:, -10:].max() < -0.5


def test_grey_photos_become_rgb(tmp_path):
    for label in "ab":
        for i in range(3):
            path = photo(tmp_path / label / f"{i}.png")
            Image.open(path).convert("L").save(path)
    image, _ = ImageFolder(str(tmp_path), image_size=16).dataset("train", augment=False)[0]
    assert image.shape[0] == 3
    assert torch.allclose(image[0], image[1])


def test_large_sets_are_decoded_on_demand(pets, monkeypatch):
    kept = ImageFolder(str(pets)).dataset("train", augment=False)
    monkeypatch.setattr(folders, "MEMORY", 0)
    lazy = ImageFolder(str(pets)).dataset("train", augment=False)
    assert isinstance(kept.images, list)
    assert not isinstance(lazy.images, list)
    assert len(lazy) == len(kept)
    assert all(torch.equal(lazy[i][0], kept[i][0]) for i in range(len(kept)))


def test_mistakes_in_a_folder(pets, tmp_path):
    def refused(path, message):
        with pytest.raises(DataError, match=message) as raised:
            ImageFolder(path and str(path)).prepare()
        assert "\n" not in str(raised.value)

    refused(None, "data.path=null.*data.path=FOLDER")
    refused(tmp_path / "none", "no folder .*none; give data.path=FOLDER")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    refused(tmp_path / "empty", "no images in class folders")
    refused(photo(tmp_path / "flat" / "a.png").parent, "no images in class folders")
    photo(tmp_path / "one" / "cat" / "b.png"), photo(tmp_path / "one" / "cat" / "a.png")
    refused(tmp_path / "one", r"one class only \(cat\)")
    photo(pets / "emu" / "lone.png")
    refused(pets, r"class emu .* has 1 image\(s\), not 2 or more")
    (pets / "emu" / "lone.png").rename(pets / "cat" / "lone.png")
    (pets / "emu").rmdir()
    (pets / "cat" / "broken.jpg").write_bytes(b"no jpeg")
    refused(pets, "cannot use 1 of 22 images: .*broken.jpg .cannot identify image file.; repair")
    whole = (pets / "cat" / "0.jpg").read_bytes()
    (pets / "cat" / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    refused(pets, "cannot use 1 of 22 images: .*broken.jpg.*truncated")
    (pets / "cat" / "broken.jpg").unlink()
    pets.rename(tmp_path / "train")
    photo(tmp_path / "split" / "test" / "yak" / "a.png")
    (tmp_path / "train").rename(tmp_path / "split" / "train")
    refused(tmp_path / "split", "class yak that the training images lack")


@pytest.fixture
def imagenet(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        for wnid in ("n01440764", "n01443537", "n02102040"):
            for i in range(count):
                photo(tmp_path / part / wnid / f"{wnid}_{i}.JPEG", 60, 50)
    return tmp_path


def test_imagenet(imagenet):
    data = ImageNet(str(imagenet), image_size=28)
    data.prepare()
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("imagenet", 3, 28, 3)
    assert data.class_names == ("n01440764", "n01443537", "n02102040")
    assert data.train_labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert len(data.test_labels) == 6
    for part, augment in (("train", True), ("test", False)):
        image, label = data.dataset(part, augment)[4]
        assert image.shape == (3, 28, 28)
        assert image.dtype == torch.float32
        assert label == (1 if augment else 2)


def test_imagenet_is_tested_on_the_middle_square(imagenet):
    data = ImageNet(str(imagenet), image_size=28)
    image, _ = data.dataset("test", augment=False)[0]
    with Image.open(imagenet / "val" / "n01440764" / "n01440764_0.JPEG") as stored:
        small = stored.resize((38, 32), Image.Resampling.BILINEAR).crop((5, 2, 33, 30))
    expected = np.asarray(small).transpose(2, 0, 1) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (expected - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(image, expected, atol=1e-4)


def test_imagenet_mistakes(imagenet, tmp_path):
    with pytest.raises(DataError, match=r"no folder .*none.train; give data.root=FOLDER"):
        ImageNet(str(tmp_path / "none")).prepare()
    for place in (imagenet / "val").iterdir():
        for file in place.iterdir():
            file.rename(imagenet / "val" / file.name)
        place.rmdir()
    with pytest.raises(DataError, match=r"no images in class folders of .*val"):
        ImageNet(str(imagenet)).prepare()
