"""Point clouds as data: deterministic digits, augmentation, and draws that do not depend on workers."""

import math

import numpy as np
import pytest
import torch

from nas_lightning.core.errors import DataError
from nas_lightning.data import PointClouds, PointDigits
from nas_lightning.data.item_modules import ItemEvaluationData
from nas_lightning.data.modules import evaluation_module, search_module
from nas_lightning.data.point_augmentation import PointAugmentation, turned
from nas_lightning.data.point_modules import PointEvaluationData, PointSearchData
from nas_lightning.data.points import cloud_of


@pytest.fixture(scope="module")
def digits():
    made = PointDigits(points=24)
    made.prepare()
    return made


def test_each_point_lies_in_an_inked_pixel_of_its_ink():
    image = np.zeros((8, 8))
    image[1, 6], image[5, 2], image[7, 0] = 16, 4, 1
    column, row, ink = cloud_of(image, 50, 7)
    found = {
        (round(7 - (r * 4 + 3.5)), round(c * 4 + 3.5), round(i * 8 + 8.5))
        for c, r, i in zip(column, row, ink, strict=True)
    }
    assert found == {(1, 6, 16), (5, 2, 4), (7, 0, 1)}  # all pixels, whatever their ink
    assert np.abs([column, row, ink]).max() <= 1
    assert len(set(column)) == 50  # no two points alike


def test_of_a_digit_with_more_pixels_than_points_no_pixel_is_taken_twice():
    image = np.full((8, 8), 8.0)
    column, row, _ = cloud_of(image, 40, 0)
    pixels = {(round(7 - (r * 4 + 3.5)), round(c * 4 + 3.5)) for c, r in zip(column, row, strict=True)}
    assert len(pixels) == 40


def test_the_clouds_are_the_same_whatever_was_drawn_before(digits):
    np.random.seed(5)
    again = PointDigits(points=24)
    again.prepare()
    assert torch.equal(again.cloud("test", 3), digits.cloud("test", 3))
    assert again.difference(digits.fingerprint(), again.fingerprint()) == ""


def test_the_parts_and_their_line(digits):
    assert (len(digits.train_labels), len(digits.test_labels)) == (1438, 359)
    assert (
        "10 classes: 0, 1, 2, 3, 4, 5, … · 1797 point clouds (1438 to train on, 359 to test on) · 24 points each"
        in (digits.found())
    )
    assert digits.sizes() == (3, 24, 10)
    assert digits.example(5)[0].shape == (5, 3, 24)


def test_another_number_of_points_or_other_clouds_are_told_apart(digits):
    kept = digits.fingerprint()
    other = PointDigits(points=25)
    other.prepare()
    assert digits.difference(kept, other.fingerprint()) == "25 points a cloud, not 24"
    moved = PointDigits(points=24)
    moved.prepare()
    moved._clouds["test"] = moved._clouds["test"] * 1.5
    assert digits.difference(kept, moved.fingerprint()) == "other test clouds: 64 of 64 that were compared differ"


def test_augmentation_turns_stretches_and_moves_within_its_limits():
    torch.manual_seed(0)
    axes = torch.eye(3)
    change = PointAugmentation(rotation=30.0, scale=1.5, shift=0.2)
    angles, factors, moves = [], [], []
    for _ in range(400):
        # Points 0, e1 and e3 tell the whole map.
        origin, first, third = change(torch.stack([torch.zeros(3), axes[0], axes[2]], dim=1)).unbind(1)
        moves += origin.abs().tolist()
        factors.append(float((third - origin)[2]))
        angles.append(math.degrees(math.atan2(*(first - origin)[[1, 0]].tolist())))
    assert 0.19 < max(moves) <= 0.2
    assert 2 / 3 <= min(factors) < 0.7
    assert 1.45 < max(factors) <= 1.5
    assert np.mean(factors) == pytest.approx((2 / 3 + 3 / 2) / 2, abs=0.05)
    steepest = math.degrees(math.atan(math.tan(math.radians(30)) * 1.5**2))
    assert 25 < max(angles) <= steepest


def test_no_augmentation_leaves_a_cloud_as_it_is_and_draws_as_much():
    cloud = torch.randn(3, 7)
    torch.manual_seed(1)
    assert torch.equal(PointAugmentation()(cloud), cloud)
    after = torch.rand(())
    torch.manual_seed(1)
    PointAugmentation(10.0, 1.2, 0.1, 0.1)(cloud)
    assert torch.equal(torch.rand(()), after)


def test_jitter_has_its_deviation_and_a_turn_keeps_lengths():
    torch.manual_seed(2)
    cloud = torch.randn(3, 4000)
    assert float((PointAugmentation(jitter=0.05)(cloud) - cloud).std()) == pytest.approx(0.05, rel=0.05)
    torch.testing.assert_close(turned(cloud, 25.0).norm(dim=0), cloud.norm(dim=0))
    torch.testing.assert_close(turned(cloud, 25.0)[2], cloud[2])


def test_resampling_takes_other_points_at_each_reading(digits):
    class Larger(PointDigits):
        def _load(self):
            super()._load()
            self.points, self.resample = 6, True

    data = Larger(points=24, rotation=0.0, scale=1.0, shift=0.0, jitter=0.0)
    augmented, plain = data.dataset("train", augment=True), data.dataset("train", augment=False)
    assert isinstance(augmented, PointClouds)
    stored = data.cloud("train", 0)
    torch.manual_seed(3)
    readings = [augmented[0][0] for _ in range(30)]
    taken = {tuple(point.tolist()) for reading in readings for point in reading.unbind(1)}
    assert taken == {tuple(point.tolist()) for point in stored.unbind(1)}
    assert all(len({tuple(p.tolist()) for p in reading.unbind(1)}) == 6 for reading in readings)
    assert torch.equal(plain[0][0], stored[:, :6])


@pytest.mark.parametrize("stream", ["train", "arch"])
def test_the_bits_do_not_depend_on_the_number_of_workers(digits, stream):
    def batches(workers):
        module = search_module(digits, 64, 0, {"num_workers": workers, "split": "stratified"})
        assert isinstance(module, PointSearchData)
        module.setup("fit")
        return list(module.train_dataloader()[stream])[:3]

    for (ours, labels), (theirs, others) in zip(batches(0), batches(2), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(labels, others)
        assert ours.shape == (64, 3, 24)


def test_two_passes_see_other_augmentations_and_the_test_part_none(digits):
    module = evaluation_module(digits, 32, 0, {}, images="full")
    assert isinstance(module, PointEvaluationData)
    assert isinstance(module, ItemEvaluationData)
    module.setup("fit")
    clouds, labels = next(iter(module.val_dataloader()))
    assert torch.equal(clouds[0], digits.cloud("test", 0))
    assert labels.tolist() == digits.test_labels[:32].tolist()
    first = torch.cat([c for c, _ in module.train_dataloader()])
    assert len(first) == len(digits.train_labels)
    assert not any(torch.equal(cloud, digits.cloud("train", i)) for i, cloud in enumerate(first[:50]))


def test_cutout_is_refused(digits):
    with pytest.raises(DataError, match="cutout=4: point clouds have no pixels to blank; use cutout=0"):
        digits.dataset("train", augment=True, cutout=4)
