"""The parts of a search: complete, disjoint, in proportion, and the same for every seed."""

import numpy as np
import pytest

from nas_lightning.core.errors import DataError
from nas_lightning.data import search_split

LABELS = np.random.default_rng(3).choice(5, size=1003, p=[0.4, 0.3, 0.15, 0.1, 0.05])


def test_halves_by_order_are_the_published_ones():
    split = search_split(np.arange(50_001) % 10, "halves_by_order")
    assert np.array_equal(split.train, np.arange(25_000))
    assert np.array_equal(split.arch, np.arange(25_000, 50_001))
    assert split.val is split.arch


def test_halves_by_order_ignore_the_seed():
    one, two = (search_split(LABELS, "halves_by_order", seed=seed) for seed in (1, 2))
    assert np.array_equal(one.train, two.train)


def test_val_of_halves_by_order_comes_from_the_end():
    split = search_split(np.arange(100) % 10, "halves_by_order", val_fraction=0.2)
    assert (split.train[-1], split.arch[-1], split.val[0], split.val[-1]) == (39, 79, 80, 99)


@pytest.mark.parametrize("method", ["halves_by_order", "stratified"])
@pytest.mark.parametrize("val_fraction", [0.0, 0.13, 0.5])
@pytest.mark.parametrize("portion", [0.5, 0.29, 0.8])
def test_every_image_is_in_exactly_one_part(method, val_fraction, portion):
    split = search_split(LABELS, method, portion, val_fraction)
    parts = [split.train, split.arch, *([split.val] if val_fraction else [])]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(1003))
    assert all(part.dtype == np.int64 and np.all(np.diff(part) > 0) for part in parts)
    rest = 1003 - int(1003 * val_fraction)
    assert abs(len(split.train) - rest * portion) <= 1


@pytest.mark.parametrize("val_fraction", [0.0, 0.2])
def test_whole_gives_all_images_to_both_but_those_set_aside(val_fraction):
    split = search_split(LABELS, "whole", val_fraction=val_fraction)
    assert np.array_equal(split.train, split.arch)
    rest = np.setdiff1d(np.arange(1003), split.val) if val_fraction else np.arange(1003)
    assert np.array_equal(split.train, rest)
    assert len(split.val) == (1003 if not val_fraction else 200)


def test_stratified_parts_hold_the_classes_in_proportion():
    split = search_split(LABELS, "stratified", 0.5, 0.2)
    whole = np.bincount(LABELS)
    for part, share in ((split.train, 0.4), (split.arch, 0.4), (split.val, 0.2)):
        assert np.all(abs(np.bincount(LABELS[part]) - whole * share) <= 1)


def test_odd_classes_do_not_all_favour_one_half():
    split = search_split(np.repeat(np.arange(100), 5), "stratified")
    assert len(split.train) == len(split.arch) == 250
    assert set(np.bincount(LABELS[:0].tolist() + [x // 5 for x in split.train])) == {2, 3}


def test_stratified_parts_are_drawn_not_cut():
    split = search_split(np.arange(1000) % 10, "stratified")
    assert not np.array_equal(split.train, np.arange(500))
    again, other = (
        search_split(np.arange(1000) % 10, "stratified"),
        search_split(LABELS, "stratified", seed=9),
    )
    assert np.array_equal(split.train, again.train)
    assert not np.array_equal(search_split(LABELS, "stratified").train, other.train)


def test_two_images_a_class_are_enough():
    split = search_split(np.array([0, 0, 1, 1]), "stratified", 0.9)
    assert len(split.train) == len(split.arch) == 2


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (LABELS, {"method": "random"}, "data.split=random.*halves_by_order, stratified"),
        (LABELS, {"method": "stratified", "val_fraction": 1.0}, "data.val_fraction=1.0"),
        (LABELS, {"method": "stratified", "val_fraction": -0.1}, "data.val_fraction=-0.1"),
        (LABELS, {"method": "stratified", "train_portion": 0.0}, "train_portion=0.0"),
        ([0, 0, 1], {"method": "stratified"}, r"class 1 has 1 training image\(s\), .* 2 or more"),
        (
            [0, 0, 0, 1, 1],
            {"method": "stratified", "val_fraction": 0.1},
            "class 1 has 2.*data.val_fraction=0",
        ),
        (
            [0, 0, 1, 1],
            {"method": "halves_by_order"},
            "no image of class 1 to the train.*data.split=stratified",
        ),
        (
            [0, 1, 0, 1, 1],
            {"method": "halves_by_order", "val_fraction": 0.1},
            "no image of class 0 to the val",
        ),
    ],
)
def test_mistakes_name_their_remedy(labels, options, message):
    with pytest.raises(DataError, match=message):
        search_split(np.array(labels), **options)


def test_float_rounding_loses_no_image():
    assert int(100 * 0.29) == 28
    assert len(search_split(np.arange(100) % 2, "halves_by_order", 0.29).train) == 29
