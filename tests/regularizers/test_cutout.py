"""Cutout on a batch, against the transform of the data pipeline."""

import math

import pytest
import torch

from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.data import Cutout as CutoutTransform
from nas_lightning.regularizers import Cutout


def blanked(part, count, height, width=None, step=0):
    """Boolean [count, H, W]: which pixels of each image were blanked; all channels must agree."""
    with draws.keyed(0, step, "images train"):
        out = part.on_images(torch.ones(count, 3, height, width or height))
    assert bool(((out == 0) | (out == 1)).all())
    assert bool((out == out[:, :1]).all())
    return out[:, 0] == 0


@pytest.mark.parametrize(("length", "height", "width"), [(2, 4, 4), (3, 5, 5), (4, 5, 6), (5, 5, 5), (8, 8, 8)])
def test_the_same_squares_as_the_transform_equally_often(length, height, width):
    """Every possible mask occurs in both, as often as the centres that lead to it."""
    possible: dict[tuple[bool, ...], int] = {}
    half = length // 2
    for row in range(height):
        for column in range(width):
            mask = torch.zeros(height, width, dtype=torch.bool)
            for y in range(row - half, row + half):
                for x in range(column - half, column + half):
                    if 0 <= y < height and 0 <= x < width:
                        mask[y, x] = True
            key = tuple(mask.flatten().tolist())
            possible[key] = possible.get(key, 0) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transform = CutoutTransform(length)
        theirs = {tuple((transform(torch.ones(1, height, width))[0] == 0).flatten().tolist()) for _ in range(1500)}
    count = 20000
    found: dict[tuple[bool, ...], int] = dict.fromkeys(possible, 0)
    for mask in blanked(Cutout(length), count, height, width).flatten(1).tolist():
        found[tuple(mask)] += 1  # a KeyError is an impossible mask
    assert theirs == set(possible) == {key for key, hits in found.items() if hits}
    chi_square = 0.0
    for key, centres in possible.items():
        expected = count * centres / (height * width)
        chi_square += (found[key] - expected) ** 2 / expected
    freedom = len(possible) - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("given", [None, 32])
def test_without_a_length_it_is_half_the_image(given):
    areas = blanked(Cutout(image_size=given), 500, 32).sum(dim=(1, 2))
    assert int(areas.max()) == 16 * 16
    assert int(areas.min()) >= 8 * 8


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_each_image_by_itself_with_the_probability(probability):
    hit = blanked(Cutout(2, probability), 4000, 4).flatten(1).any(dim=1)
    error = math.sqrt(probability * (1 - probability) / len(hit))
    assert abs(float(hit.float().mean()) - probability) <= 4 * error
    if probability < 1:
        neighbours = torch.corrcoef(torch.stack([hit[1:].float(), hit[:-1].float()]))[0, 1]
        assert abs(float(neighbours)) < 4 / math.sqrt(len(hit))


def test_linear_schedule_and_constant_schedule():
    linear, constant = Cutout(2, 0.8, "linear", epochs=50), Cutout(2, 0.8)
    image = torch.ones(1, 3, 4, 4)
    assert linear.on_images(image) is image
    for epoch, expected in ((0, 0.0), (1, 0.8 / 49), (25, 20 / 49), (49, 0.8)):
        linear.at_epoch(epoch)
        constant.at_epoch(epoch)
        assert linear.metrics() == {"cutout": pytest.approx(expected)}
        for part, chance in ((linear, expected), (constant, 0.8)):
            hits = int(blanked(part, 4000, 4, step=epoch).flatten(1).any(dim=1).sum())
            assert abs(hits - 4000 * chance) <= 4 * math.sqrt(4000 * chance * (1 - chance))
    assert constant.metrics() == {}


def test_only_the_linear_schedule_needs_the_epochs():
    Cutout().at_epoch(3)
    with pytest.raises(ConfigError, match=r"regularizer\.cutout\.epochs=null"):
        Cutout(schedule="linear").at_epoch(0)


def test_a_square_larger_than_the_image_is_refused_early_and_late():
    message = r"regularizer\.cutout\.length=9: the images have 8 pixels a side; allowed: 0 to 8"
    with pytest.raises(ConfigError, match=message) as caught:
        Cutout(9, image_size=8)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=message):
        Cutout(9).on_images(torch.ones(1, 3, 8, 10))


@pytest.mark.parametrize("off", [Cutout(0), Cutout(4, 0.0)])
def test_off_leaves_the_images(off):
    image = torch.ones(4, 3, 8, 8)
    assert off.on_images(image) is image


def test_images_are_not_changed_in_place_and_draws_are_keyed():
    image = torch.randn(16, 3, 8, 8)
    kept, state = image.clone(), torch.random.get_rng_state()
    results = []
    for step, rank in ((0, 0), (0, 0), (1, 0), (0, 1)):
        with draws.keyed(0, step, "images train", rank):
            results.append(Cutout(4).on_images(image))
    assert torch.equal(image, kept)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[3])
