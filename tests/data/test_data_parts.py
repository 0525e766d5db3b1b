"""Folders are classes or parts: by their names where these leave one reading, refused in one line otherwise."""

import numpy as np
import pytest
from PIL import Image

from nas_lightning.core.errors import DataError
from nas_lightning.data import ImageFolder

RNG = np.random.default_rng(4)


def fill(*folders, count=3):
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.fromarray(RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def read(root, **options):
    data = ImageFolder(str(root), image_size=16, **options)
    data.prepare()
    return data


def refused(root, message):
    with pytest.raises(DataError, match=message) as raised:
        read(root)
    line = str(raised.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ("train", "valid"),
        ("Training", "Testing"),
        ("TRAIN", "dev"),
        ("training", "Validation"),
        ("Train", "Val"),
        ("train", "eval"),
    ],
)
@pytest.mark.parametrize("beside", [(), (".ipynb_checkpoints", "__MACOSX", "@eaDir")])
def test_usual_names_of_parts(tmp_path, train, held_out, beside):
    for label in ("cat", "dog"):
        fill(tmp_path / train / label, count=4)
        fill(tmp_path / held_out / label, count=2)
    for name in beside:
        fill(tmp_path / name / "cat", tmp_path / train / name)
    data = read(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert data.train_labels.tolist() == [0] * 4 + [1] * 4
    assert data.test_labels.tolist() == [0, 0, 1, 1]
    assert data.found() == "2 classes: cat, dog · 12 images (8 to train on, 4 to test on)"


def test_junk_beside_and_within_classes_is_no_class(tmp_path):
    for label in ("cat", "dog"):
        fill(tmp_path / label, count=5)
        fill(tmp_path / label / "@eaDir", tmp_path / label / ".thumbnails")
    fill(tmp_path / "__MACOSX" / "cat", tmp_path / ".cache")
    (tmp_path / "cat" / "Thumbs.db").write_text("x")
    assert read(tmp_path).found() == "2 classes: cat, dog · 10 images (8 to train on, 2 to test on)"


def test_a_part_that_is_not_read_is_named(tmp_path):
    for part in ("train", "valid", "test"):
        fill(tmp_path / part / "a", tmp_path / part / "b")
    assert read(tmp_path).notes == ("valid is not read",)


def test_valid_is_the_test_part_where_test_has_no_labels(tmp_path):
    fill(tmp_path / "test")
    for part in ("train", "valid"):
        fill(tmp_path / part / "a", tmp_path / part / "b")
    data = read(tmp_path)
    assert data.class_names == ("a", "b")
    assert data.notes == ("test is not read",)


def test_structures_that_can_be_read_in_two_ways_are_refused(tmp_path):
    def tree(name, *leaves):
        for leaf in leaves:
            fill(tmp_path / name / leaf)
        return tmp_path / name

    fix = ".*data.split_folders=false"
    refused(tree("loose", "train", "valid"), "train, valid have no class folders; give FOLDER/train/<class>" + fix)
    refused(
        tree("beside", "train/a", "train/b", "test/a", "test/b", "extra"),
        "holds test, train beside extra" + fix,
    )
    refused(tree("one", "train/a", "train/b", "images"), "holds train beside images" + fix)
    refused(tree("twice", "train/a", "train/b", "val/a", "valid/a"), "several of train, val, valid" + fix)
    refused(tree("no_train", "test/a", "test/b", "val/a"), "no class folders to train on" + fix)
    refused(tree("alone", "train/a", "train/b"), r"no class folders to test on.*data.path=\S*alone/train" + fix)
    refused(
        tree("alike", "seg_train/a", "seg_test/a", "seg_pred"),
        "seg_test, seg_train look like parts; name them train" + fix,
    )
    refused(tree("years", "train2017/a", "val2017/a"), "train2017, val2017 look like parts" + fix)
    refused(tree("inverted", "cat/train", "cat/test", "dog/train"), "the class cat is divided into parts" + fix)
    refused(tree("wrapped", "archive/cat", "archive/dog"), r"one class only \(archive\).*data.path=\S*wrapped/archive")


def test_classes_may_have_such_names(tmp_path):
    fill(tmp_path / "one" / "train", tmp_path / "one" / "bus")
    assert read(tmp_path / "one").class_names == ("bus", "train")
    fill(tmp_path / "both" / "train", tmp_path / "both" / "valid")
    assert read(tmp_path / "both", split_folders=False).class_names == ("train", "valid")
    fill(tmp_path / "words" / "train_station", tmp_path / "words" / "bus_stop")
    assert read(tmp_path / "words").class_names == ("bus_stop", "train_station")


def test_a_part_may_not_lead_out_of_the_folder(tmp_path):
    fill(tmp_path / "far" / "a", tmp_path / "far" / "b", tmp_path / "d" / "test" / "a", tmp_path / "d" / "test" / "b")
    (tmp_path / "d" / "train").symlink_to(tmp_path / "far")
    refused(tmp_path / "d", "train is a link to .*data.follow_links=true")
    assert read(tmp_path / "d", follow_links=True).class_names == ("a", "b")
