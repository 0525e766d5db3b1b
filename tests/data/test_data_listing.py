"""Files that are not read are counted, damaged ones named, and special ones never opened."""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from nas_lightning.core.errors import DataError
from nas_lightning.data import ImageFolder, ImageNet, folders
from nas_lightning.data.listing import EXTENSIONS
from nas_lightning.data.preprocessing import read_upright
from nas_lightning.deployment import image_files

RNG = np.random.default_rng(5)


def photo(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path, **options)
    return path


@pytest.fixture
def birds(tmp_path):
    root = tmp_path / "birds"
    for label in ("jay", "owl"):
        for i in range(5):
            photo(root / label / f"{i}.png")
    return root


def read(root, **options):
    data = ImageFolder(str(root), image_size=16, **options)
    data.prepare()
    return data


def test_files_that_are_not_read_are_counted(birds):
    for name in ("a.heic", "b.HEIC", "c.ico", "d.svg", "notes", "Thumbs.db", ".DS_Store"):
        (birds / "jay" / name).write_bytes(b"x")
    (birds / "labels.csv").write_text("x")
    photo(birds / "loose.jpg")
    found = read(birds).found()
    assert found.startswith("2 classes: jay, owl · 10 images (8 to train on, 2 to test on) · 7 left out (2 .heic, ")
    assert all(reason in found for reason in ("1 .csv", "1 .ico", "1 .svg", "1 in no class folder, …"))


def test_a_class_without_readable_files_says_why(birds):
    for i in range(4):
        (birds / "emu" / f"{i}.heic").parent.mkdir(exist_ok=True)
        (birds / "emu" / f"{i}.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"class emu .* has 0 image\(s\), not 2 or more; 4 left out \(4 .heic\)"):
        read(birds)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_extension_is_read_in_a_folder_and_alone(tmp_path, extension):
    path = photo(tmp_path / f"a{extension.upper()}", **({"format": "PPM"} if extension == ".pnm" else {}))
    assert image_files(tmp_path) == image_files(path) == [str(path)]
    assert np.asarray(read_upright(str(path), "RGB")).shape == (20, 20, 3)


def test_images_to_predict_have_the_same_extensions(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a.heic: .heic is not read; give .* read are \.jpg"):
        image_files(tmp_path / "a.heic")
    with pytest.raises(DataError, match=r"no images in it; 1 left out \(1 .heic\)"):
        image_files(tmp_path)
    photo(tmp_path / "b.png")
    assert image_files(tmp_path) == [str(tmp_path / "b.png")]


def test_special_files_and_broken_links_are_not_opened(birds, monkeypatch):
    os.mkfifo(birds / "jay" / "pipe.png")
    (birds / "jay" / "gone.png").symlink_to(birds / "nowhere.png")
    monkeypatch.chdir(birds / "owl")  # names of sockets must be short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s.png")
        found = read(birds).found()
    assert "2 pipe, socket or device" in found
    assert "1 broken link" in found
    with pytest.raises(DataError, match=r"pipe.png.* not a regular file"):
        read_upright(str(birds / "jay" / "pipe.png"), "RGB")
    with pytest.raises(DataError, match=r"pipe.png: it is neither a file nor a folder"):
        image_files(birds / "jay" / "pipe.png")


def test_a_folder_that_cannot_be_listed(birds):
    (birds / "owl").chmod(0)
    try:
        if os.access(birds / "owl", os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(DataError, match=r"owl cannot be listed .*Permission denied"):
            read(birds)
    finally:
        (birds / "owl").chmod(0o700)


def damage(birds, count):
    whole = photo(birds / "jay" / "whole.jpg").read_bytes()
    for i in range(count):
        (birds / "jay" / f"bad{i}.jpg").write_bytes(whole[: 200 + i] if i % 2 else b"")


def test_all_damaged_photos_are_counted_and_the_first_named(birds):
    damage(birds, 5)
    with pytest.raises(
        DataError, match=r"5 of 16 images: .*bad\d.jpg \(.*and 2 more; .*data.skip_unreadable=true"
    ) as raised:
        read(birds)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("memory", [0, 2**30])
def test_damaged_photos_are_skipped_and_named_on_request(birds, memory, monkeypatch, caplog):
    expected = read(birds).train_labels.tolist()
    damage(birds, 4)
    (birds / "jay" / "whole.jpg").unlink()
    monkeypatch.setattr(folders, "MEMORY", memory)
    data = read(birds, skip_unreadable=True)
    assert data.train_labels.tolist() == expected
    assert "4 left out (4 unreadable)" in data.found()
    assert "leaves out 4 of 14 images: " in caplog.text
    assert "bad0.jpg" in caplog.text


def test_too_few_readable_photos_are_refused(birds):
    for path in (birds / "owl").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"class owl has 0 readable image\(s\), not 2"):
        read(birds, skip_unreadable=True)
    with pytest.raises(DataError, match="5 of 10 images"):
        read(birds)


def test_imagenet_counts_them_too(tmp_path):
    for part in ("train", "val"):
        for label in ("n1", "n2"):
            photo(tmp_path / part / label / "a.JPEG"), photo(tmp_path / part / label / "b.JPEG")
    (tmp_path / "train" / "n1" / "x.tar").write_bytes(b"x")
    data = ImageNet(str(tmp_path), image_size=16)
    assert data.found() == "2 classes: n1, n2 · 8 images (4 to train on, 4 to test on) · 1 left out (1 .tar)"
