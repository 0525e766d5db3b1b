"""Subsets of the training images: how many, which, and who sees them, on a folder of photos that show their number."""

import numpy as np
import pytest
from PIL import Image

from nas_lightning.core.errors import DataError
from nas_lightning.core.split_lists import COLUMNS
from nas_lightning.data import Digits, ImageFolder, ImageNet, drawn_subsets, listed_subsets, search_split
from nas_lightning.data.base import Shape
from nas_lightning.data.module import EvaluationData, SearchData
from nas_lightning.data.search_subsets import rows_of
from nas_lightning.data.stand_in import StandIn
from nas_lightning.runs import tables

CLASSES = ("ant", "bee", "cow")
EACH = 40
FRACTIONS = [0.25, 0.1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """120 training and 6 test photos of one grey level each, which is the number of the photo."""
    root = tmp_path_factory.mktemp("photos")
    number = 0
    for part, each in (("train", EACH), ("val", 2)):
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for i in range(each):
                pixels = np.full((20, 24, 3), number % 256, np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i:02d}.png")
                number += 1
    return root


@pytest.fixture(scope="module", params=["image_folder", "imagenet"])
def data(request, photos):
    source = ImageFolder(str(photos), image_size=16) if request.param == "image_folder" else ImageNet(str(photos), 16)
    source.prepare()
    return source


def numbers(data, loader):
    """The numbers of the photos of a pass, by their grey level; augmentation with jitter is left out by the caller."""
    found = []
    for images, labels in loader:
        levels = (images[:, 0] * data.std[0] + data.mean[0]) * 255
        shown = levels.flatten(1).median(dim=1).values.round().int().tolist()
        assert [number // EACH for number in shown] == labels.tolist()
        found += shown
    return found


def write(path, rows):
    tables.write(path, [row._asdict() for row in rows], COLUMNS)
    return str(path)


def test_every_class_gives_its_share_and_no_image_is_in_two_parts():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [1300, 1300, 732]))
    split = drawn_subsets(labels, [0.1, 0.025], 0.05)
    assert np.bincount(labels[split.train]).tolist() == [130, 130, 73]
    assert np.bincount(labels[split.arch]).tolist() == [32, 32, 18]
    assert np.bincount(labels[split.val]).tolist() == [65, 65, 36]
    together = np.concatenate([split.train, split.arch, split.val])
    assert len(np.unique(together)) == len(together)
    assert all((np.diff(part) > 0).all() for part in (split.train, split.arch, split.val))


def test_a_draw_is_a_function_of_its_seed_and_is_not_a_cut():
    labels = np.repeat([0, 1], 500)
    one, again, other = (drawn_subsets(labels, [0.1, 0.1], seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.train, again.train)
    assert np.array_equal(one.arch, again.arch)
    assert one.val is one.arch
    assert len(np.intersect1d(one.train, other.train)) < 40
    # Of 50 numbers drawn from 0 to 499 the mean has a deviation of 20: neither the first nor the last ones.
    assert abs(one.train[one.train < 500].mean() - 249.5) < 80


def test_what_is_drawn_of_a_class_depends_on_no_other_class():
    few, many = drawn_subsets(np.repeat([0, 1], 50), [0.2, 0.1]), drawn_subsets(np.repeat([0, 1, 2], 50), [0.2, 0.1])
    assert np.array_equal(few.train, many.train[many.train < 100])


def test_a_larger_share_contains_a_smaller_one():
    labels = np.repeat([0, 1], 50)
    small, large = (drawn_subsets(labels, [share, 0.1]).train for share in (0.1, 0.5))
    assert np.isin(small, large).all()


def test_tiny_classes_give_one_image_to_each_part_or_are_refused():
    split = drawn_subsets(np.repeat([0, 1], [2, 100]), [0.1, 0.025])
    assert [(part < 2).sum() for part in (split.train, split.arch)] == [1, 1]
    with pytest.raises(DataError, match=r"class 0 has 2 training image\(s\), data\.search_fractions need 3 or more"):
        drawn_subsets(np.repeat([0, 1], [2, 100]), [0.1, 0.025], 0.1)


def test_a_search_sees_the_drawn_photos_only(photos):
    data = ImageFolder(str(photos), image_size=16)
    search = SearchData(data, 3, 0, search_fractions=FRACTIONS, num_workers=0)
    search.setup("fit")
    split = drawn_subsets(np.repeat([0, 1, 2], EACH), FRACTIONS)
    train, arch = set(split.train.tolist()), set(split.arch.tolist())
    assert (len(train), len(arch)) == (30, 12)
    for first_pass in (0, 1):
        search.first_pass = first_pass
        loaders = search.train_dataloader()
        assert set(numbers(data, loaders["train"])) == train
        assert set(numbers(data, loaders["arch"])) == arch
    assert set(numbers(data, search.val_dataloader())) == arch
    assert set(numbers(data, search.selection_dataloader())) == arch
    assert set(numbers(data, [search.fixed_arch_batch()])) <= arch
    candidates = EvaluationData(data, 3, 0, images="search_halves", search_fractions=FRACTIONS)
    candidates.setup("fit")
    assert set(numbers(data, candidates.train_dataloader())) == train
    assert set(numbers(data, candidates.val_dataloader())) == arch


def test_the_retraining_has_all_training_photos(photos):
    data = ImageFolder(str(photos), image_size=16)
    retraining = EvaluationData(data, 5, 0, search_fractions=FRACTIONS)
    retraining.setup("fit")
    assert sorted(numbers(data, retraining.train_dataloader())) == list(range(3 * EACH))


@pytest.mark.parametrize("seed", [0, 7])
def test_seed_of_the_run_and_workers_change_no_subset(photos, seed):
    data = ImageFolder(str(photos), image_size=16)
    search = SearchData(data, 3, seed, search_fractions=FRACTIONS, num_workers=seed and 2)
    search.setup("fit")
    assert np.array_equal(search.split.train, drawn_subsets(data.train_labels, FRACTIONS).train)
    assert set(numbers(data, search.train_dataloader()["train"])) == set(search.split.train.tolist())


@pytest.mark.parametrize("val_fraction", [0.0, 0.1])
def test_a_list_gives_back_what_was_drawn(data, tmp_path, val_fraction):
    search = SearchData(data, 3, 0, search_fractions=FRACTIONS, search_seed=4, val_fraction=val_fraction)
    search.setup("fit")
    rows = search.chosen()
    assert rows[0].part == "train"
    assert rows[0].image == f"train/ant/{search.split.train[0]:02d}.png"
    assert {row.label for row in rows} == set(CLASSES)
    again = SearchData(data, 3, 1, search_split=write(tmp_path / "list.csv", rows))
    again.setup("fit")
    for part in ("train", "arch", "val"):
        assert np.array_equal(getattr(again.split, part), getattr(search.split, part)), part
    assert again.val_is_augmented == search.val_is_augmented == (not val_fraction)
    assert again.chosen() == rows


def test_a_list_may_be_read_by_the_other_source_of_the_same_folder(photos, tmp_path):
    sources = [ImageFolder(str(photos), image_size=16), ImageNet(f"{photos}/", 16)]
    for source in sources:
        source.prepare()
    split = drawn_subsets(sources[0].train_labels, FRACTIONS)
    path = write(tmp_path / "list.csv", rows_of(split, sources[0]))
    assert np.array_equal(listed_subsets(path, sources[1]).train, split.train)


def test_images_without_files_are_listed_by_number(tmp_path):
    data = Digits()
    data.prepare()
    split = drawn_subsets(data.train_labels, [0.1, 0.05])
    rows = rows_of(split, data)
    assert [int(row.image) for row in rows] == [*split.train.tolist(), *split.arch.tolist()]
    read = listed_subsets(write(tmp_path / "list.csv", rows), data)
    assert np.array_equal(read.arch, split.arch)


def test_names_of_a_relative_folder(photos, monkeypatch):
    monkeypatch.chdir(photos)
    for given in (".", f"../{photos.name}"):
        data = ImageNet(given, 16)
        data.prepare()
        assert data.image_names()[0] == "train/ant/00.png"
    monkeypatch.chdir(photos.parent)
    data = ImageFolder(f"{photos.name}/train", image_size=16)
    data.prepare()
    assert data.image_names()[0].startswith("ant/")


def test_a_plan_needs_no_images_of_a_list(data, tmp_path):
    path = write(tmp_path / "list.csv", rows_of(drawn_subsets(data.train_labels, FRACTIONS), data))
    stand_in = StandIn(ImageNet("nowhere"), Shape(3 * EACH, 6, 3, 16, 3))
    search = SearchData(stand_in, 3, 0, search_split=path)
    search.setup("fit")
    assert (len(search.split.train), len(search.split.arch)) == (30, 12)


def test_a_plan_counts_a_list_that_is_longer_than_the_published_set(data, tmp_path):
    """A folder named as ImageNet may hold more images than the stand-in of the set."""
    path = write(tmp_path / "list.csv", rows_of(drawn_subsets(data.train_labels, FRACTIONS), data))
    search = SearchData(StandIn(ImageNet("nowhere"), Shape(10, 6, 3, 16, 3)), 3, 0, search_split=path)
    search.setup("fit")
    assert (len(search.split.train), len(search.split.arch)) == (30, 12)
    assert sum(len(labels) for _, labels in search.train_dataloader()["train"]) == 30


def test_candidates_on_a_list_need_no_images_set_aside(photos, tmp_path):
    """The parts of a list have no image in common, whatever the split would do without it."""
    data = ImageFolder(str(photos), image_size=16)
    data.prepare()
    path = write(tmp_path / "list.csv", rows_of(drawn_subsets(data.train_labels, FRACTIONS), data))
    with pytest.raises(DataError, match=r"data\.split=whole: candidates would be compared"):
        EvaluationData(data, 3, 0, images="search_halves", split="whole").setup("fit")
    candidates = EvaluationData(data, 3, 0, images="search_halves", split="whole", search_split=path)
    candidates.setup("fit")
    assert not np.intersect1d(candidates.train_indices, candidates.held_out_indices).size
    assert (len(candidates.train_indices), len(candidates.held_out_indices)) == (30, 12)


def test_a_list_that_does_not_fit_is_refused(data, tmp_path):
    rows = rows_of(drawn_subsets(data.train_labels, FRACTIONS), data)

    def refused(changed):
        path = write(tmp_path / "list.csv", changed)
        with pytest.raises(DataError) as caught:
            listed_subsets(path, data)
        assert str(caught.value).startswith(f"data.search_split={path}: ")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    gone = [row._replace(image=f"{row.image}.gone") for row in rows[:2]]
    message = refused([*gone, *rows[2:]])
    assert f"2 of 42 images are not among the training images, e.g. {gone[0].image}" in message
    assert f"image {rows[0].image} has class bee there, but ant here" in refused(
        [rows[0]._replace(label="bee"), *rows[1:]]
    )
    assert "no image of class cow in the arch part" in refused(
        [row for row in rows if (row.part, row.label) != ("arch", "cow")]
    )
    tests = [row._replace(image=row.image.replace("train/", "val/")) for row in rows[:1]]
    assert "1 of 42 images are not among" in refused([*tests, *rows[1:]])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"search_fractions": [0.1]}, r"data\.search_fractions=\[0\.1\]: two shares are needed"),
        ({"search_fractions": [0.1, 0.0]}, "each above 0 to 1"),
        ({"search_fractions": [1.5, 0.1]}, "each above 0 to 1"),
        ({"search_fractions": [float("nan"), 0.1]}, "each above 0 to 1"),
        ({"search_fractions": [0.8, 0.3]}, "together more than all images"),
        ({"search_fractions": [0.8, 0.1], "val_fraction": 0.2}, "and data.val_fraction=0.2: together more than all"),
        ({"search_fractions": FRACTIONS, "split": "halves_by_order"}, "not by data.split=halves_by_order; use"),
        ({"search_fractions": FRACTIONS, "split": "whole"}, "not by data.split=whole"),
        ({"search_seed": 3}, "data.search_seed=3: only data.search_fractions are drawn by it"),
        ({"search_split": "F", "val_fraction": 0.1}, "data.val_fraction=0.1: data.search_split=F fixes the parts"),
        ({"search_split": "F", "split": "benchmark"}, "data.search_split=F: data.split=benchmark reads"),
    ],
)
@pytest.mark.parametrize("module", [SearchData, EvaluationData])
def test_keys_that_contradict_each_other_are_refused(module, keys, message):
    with pytest.raises(DataError, match=message) as caught:
        module(Digits(), 3, 0, **keys)
    assert "\n" not in str(caught.value)


def test_all_images_may_be_drawn():
    labels = np.repeat([0, 1], 10)
    split = drawn_subsets(labels, [0.7, 0.3])
    assert np.array_equal(np.sort(np.concatenate([split.train, split.arch])), np.arange(20))
    halves = search_split(labels, "stratified")
    assert len(halves.train) == len(drawn_subsets(labels, [0.5, 0.5]).train) == 10
