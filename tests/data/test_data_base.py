"""Pixels: normalisation, Cutout, crops, and the built-in digits."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchvision.transforms import v2

from nas_lightning.core.errors import DataError
from nas_lightning.data import Cutout, Digits
from nas_lightning.data.base import channel_statistics
from nas_lightning.data.transforms import CropAndFlip, Standardise


@pytest.fixture(scope="module")
def digits():
    data = Digits()
    data.prepare()
    return data


def test_standardise_equals_torchvision():
    image = torch.randint(0, 256, (3, 7, 5), dtype=torch.uint8)
    mean, std = (0.49, 0.48, 0.44), (0.24, 0.25, 0.26)
    expected = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])(image)
    torch.testing.assert_close(Standardise(mean, std)(image), expected, rtol=1e-5, atol=1e-6)


def test_channel_statistics_equal_the_plain_formula():
    images = torch.randint(0, 256, (20, 3, 4, 6), dtype=torch.uint8)
    mean, std = channel_statistics(images)
    pixels = images.numpy().astype(float) / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-9)


def test_a_constant_channel_stays_finite():
    mean, std = channel_statistics(torch.full((2, 1, 4, 4), 51, dtype=torch.uint8))
    assert mean == pytest.approx((0.2,))
    assert std == (1.0,)


@pytest.mark.parametrize(
    ("centre", "rows", "columns"),
    [
        ((10, 12), range(6, 14), range(8, 16)),  # free of the border: c - 4 to c + 3
        ((0, 0), range(0, 4), range(0, 4)),
        ((19, 19), range(15, 20), range(15, 20)),
        ((3, 17), range(0, 7), range(13, 20)),
    ],
)
def test_cutout_blanks_the_published_square(monkeypatch, centre, rows, columns):
    draws = iter(centre)
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor(next(draws)))
    image = torch.ones(3, 20, 20)
    out = Cutout(8)(image)
    expected = torch.ones(3, 20, 20)
    for row in rows:
        for column in columns:
            expected[:, row, column] = 0
    assert torch.equal(out, expected)
    assert image.min() == 1  # the caller's image is left alone


def test_cutout_centres_reach_every_pixel_alike():
    torch.manual_seed(0)
    hits = sum(Cutout(2)(torch.ones(1, 4, 4))[0].eq(0).float() for _ in range(4000)) / 4000
    # A pixel is covered if the centre is on it or one further, right or below: 1, 2 or 4 of 16 centres.
    expected = torch.full((4, 4), 4 / 16)
    expected[3, :], expected[:, 3], expected[3, 3] = 2 / 16, 2 / 16, 1 / 16
    torch.testing.assert_close(hits, expected, atol=0.03, rtol=0)


def test_crops_shift_the_image_over_black_and_mirror_it():
    image = torch.arange(1, 17, dtype=torch.uint8).view(1, 4, 4)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
    crops = [padded[:, i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
    allowed = {tuple(c.flatten().tolist()) for crop in crops for c in (crop, crop.flip(-1))}
    torch.manual_seed(0)
    transform = CropAndFlip(4, padding=1)
    seen = {tuple(transform(image).flatten().tolist()) for _ in range(400)}
    assert seen == allowed


def test_digits_are_those_of_scikit_learn(digits):
    assert (digits.name, digits.in_channels, digits.image_size, digits.num_classes) == ("digits", 1, 8, 10)
    assert digits.class_names == tuple("0123456789")
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
    pixels = torch.cat([digits._images["train"], digits._images["test"]]).float() * 16 / 255
    ours = sorted(map(tuple, pixels.round().int().flatten(1).tolist()))
    assert ours == sorted(map(tuple, load_digits().data.astype(int).tolist()))


def test_digits_split_is_stratified_and_fixed(digits):
    share = np.bincount(digits.test_labels) / np.bincount(load_digits().target)
    assert np.all(abs(share - 0.2) < 0.01)
    torch.manual_seed(7)
    again = Digits()
    again.prepare()
    assert torch.equal(again._images["test"], digits._images["test"])


def test_training_images_are_normalised(digits):
    images = torch.stack([image for image, _ in digits.dataset("train", augment=False)])
    assert images.dtype == torch.float32
    assert images.mean() == pytest.approx(0, abs=1e-5)
    assert images.std() == pytest.approx(1, abs=1e-4)


def test_items_and_labels_belong_together(digits):
    dataset = digits.dataset("test", augment=False)
    image, label = dataset[5]
    assert image.shape == (1, 8, 8)
    assert isinstance(label, int)
    assert label == digits.test_labels[5]
    assert len(dataset) == len(digits.test_labels)


def test_digits_are_shifted_but_never_mirrored(digits):
    dataset, plain = digits.dataset("train", augment=True), digits._images["train"][0]
    padded = torch.nn.functional.pad(plain, (1, 1, 1, 1))
    normalise = Standardise(digits.mean, digits.std)
    allowed = torch.stack([normalise(padded[:, i : i + 8, j : j + 8]) for i in range(3) for j in range(3)])
    for _ in range(50):
        assert (allowed == dataset[0][0]).flatten(1).all(1).any()


@pytest.mark.parametrize("cutout", [-1, 9])
def test_cutout_must_fit_the_image(digits, cutout):
    with pytest.raises(DataError, match=rf"cutout={cutout} .*8x8.*evaluation.cutout=4"):
        digits.dataset("train", augment=True, cutout=cutout)


def test_cutout_is_applied_after_normalisation(digits):
    image, _ = digits.dataset("train", augment=False, cutout=8)[0]
    assert image.eq(0).any()  # no shade of the digits is normalised to exactly 0


def test_constructors_read_nothing():
    assert not hasattr(Digits(), "train_labels")
