"""Augmented pairs still match: whatever is done to them, the left image is found in the right one by the truth."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from nas_lightning.data.stereo_augmentation import Colours, Geometry, StereoAugmentation, recolour, warp
from nas_lightning.data.stereo_scenes import SceneSettings, render

PLAIN = SceneSettings(photometric=0.0, min_disparity=3.0, layers=3)
MOVES = {
    "nothing": Geometry(),
    "columns": Geometry(columns=7.3),
    "rows": Geometry(rows=-4.6),
    "larger": Geometry(scale=1.3),
    "smaller": Geometry(scale=0.8),
    "shear": Geometry(shear=0.15),
    "shift of the right image": Geometry(shift=2.7),
    "shift to the other side": Geometry(shift=-5.2),
    "all": Geometry(1.2, -0.1, -5.0, 3.0, -1.5),
}


def pair_of(index):
    pair = render(PLAIN, 11, index)
    known = np.where(pair.occluded, np.nan, pair.disparity)
    return torch.from_numpy(pair.left), torch.from_numpy(pair.right), torch.from_numpy(known)[None]


def errors(left, right, disparity, sign=1):
    """Differences of known pixels whose match lies in the right image, by numpy's interpolation."""
    columns = np.arange(left.shape[2], dtype=float)
    found = []
    for y in range(left.shape[1]):
        target = columns - sign * disparity[0, y].numpy()
        good = (target >= 0) & (target <= columns[-1])  # NaN: False
        found += [
            np.abs(np.interp(target, columns, other[y]) - one[y].numpy())[good]
            for one, other in zip(left, right, strict=True)
        ]
    return np.concatenate(found)


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("name", MOVES)
def test_moved_pairs_match(name, index):
    left, right, disparity = warp(*pair_of(index), MOVES[name])
    matched = errors(left, right, disparity)
    assert len(matched) > 0.3 * left.numel()
    assert np.median(matched) < 0.01
    assert matched.mean() < 0.025
    assert matched.mean() < 0.4 * errors(left, right, disparity, sign=-1).mean()  # the sign is seen
    assert np.nanmin(disparity) >= 0


@pytest.mark.parametrize("name", MOVES)
def test_truth_of_moved_pairs_is_that_of_a_pixel_nearby(name):
    """By a loop over some pixels, from the source to the output."""
    geometry = MOVES[name]
    left, right, disparity = pair_of(0)
    *_, moved = warp(left, right, disparity, geometry)
    height, width = disparity.shape[1:]
    m, n, checked = (width - 1) / 2, (height - 1) / 2, 0
    for y, x in np.ndindex(height, width):
        if (x + 3 * y) % 17 or not torch.isfinite(disparity[0, y, x]):
            continue
        there = geometry.scale * ((x - m) + geometry.shear * (y - n)) + geometry.columns + m
        below = geometry.scale * (y - n) + geometry.rows + n
        column, row = round(there), round(below)
        if abs(there - column) < 0.4 and abs(below - row) < 0.4 and 0 < column < width - 1 and 0 < row < height - 1:
            window = disparity[0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] * geometry.scale - geometry.shift
            assert (window - moved[0, row, column]).abs().nan_to_num(99).min() < 1e-5 or moved[0, row, column].isnan()
            checked += 1
    assert checked > 50


def test_factor_0_is_the_identity():
    left, right, disparity = pair_of(1)
    found = StereoAugmentation(64, 128, factor=0.0)(left, right, disparity)
    for one, other in zip(found, (left, right, disparity), strict=True):
        assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1))
    cut = StereoAugmentation(32, 64, factor=0.0)(left, right, disparity)
    assert torch.equal(cut[0], left[:, 16:48, 32:96])


@pytest.mark.parametrize("factor", [0.25, 1.0, 2.0])
def test_deviations_grow_with_the_root_of_the_factor(factor):
    torch.manual_seed(0)
    augmentation = StereoAugmentation(64, 128, factor)
    high = torch.full((1, 64, 128), 100.0)  # no shift is refused
    drawn = [augmentation.draw_geometry(high) for _ in range(3000)]
    values = {field.name: np.array([getattr(one, field.name) for one in drawn]) for field in fields(Geometry)}
    values["scale"] = np.log(values["scale"])
    expected = {"scale": 0.15, "shear": 0.05, "columns": 0.05 * 128, "rows": 0.05 * 64, "shift": 4.0}
    for name, deviation in expected.items():
        assert values[name].std() == pytest.approx(factor**0.5 * deviation, rel=0.06), name
        assert abs(values[name].mean()) < 0.1 * values[name].std()
    colours = [augmentation.draw_colours(3) for _ in range(3000)]
    one, other = (np.array([pair[side].brightness for pair in colours]) for side in (0, 1))
    assert one.std() == pytest.approx((factor * 1.01) ** 0.5 * 0.1, rel=0.06)
    assert (one - other).std() == pytest.approx((factor * 0.02) ** 0.5 * 0.1, rel=0.06)
    contrast = np.log([pair[0].contrast for pair in colours])
    assert contrast.std() == pytest.approx((factor * 1.01) ** 0.5 * 0.2, rel=0.06)


def test_shifts_never_make_a_disparity_negative():
    torch.manual_seed(0)
    low = torch.full((1, 64, 128), 20.0)
    low[0, 3, 3] = 0.5
    low[0, 5, 5] = torch.nan
    drawn = [StereoAugmentation(64, 128, 2.0).draw_geometry(low) for _ in range(500)]
    assert all(one.shift <= 0.5 * one.scale for one in drawn)
    assert min(one.shift for one in drawn) < -4
    unknown = torch.full((1, 64, 128), torch.nan)
    assert all(StereoAugmentation(64, 128).draw_geometry(unknown).shift <= 0 for _ in range(5))


def test_augmented_pairs_match_up_to_their_colours():
    """Colours that both images share leave a match a match."""
    torch.manual_seed(1)
    for index in range(4):
        left, right, disparity = StereoAugmentation(48, 96)(*pair_of(index))
        assert left.shape == right.shape == (3, 48, 96)
        assert disparity.shape == (1, 48, 96)
        matched = errors(left, right, disparity)
        assert matched.mean() < 0.06
        assert matched.mean() < 0.7 * errors(left, right, disparity, sign=-1).mean()
        assert left.min() >= 0
        assert left.max() <= 1


def test_the_same_state_draws_the_same_pair():
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(StereoAugmentation(48, 96)(*pair_of(0)))
    assert all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in zip(*found, strict=True))


def test_colours_pixel_by_pixel():
    image = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(0))
    colours = Colours(0.1, 1.5, 0.8, (1.1, 0.9, 1.0))
    found = recolour(image, colours)
    for c, y, x in np.ndindex(3, 2, 2):
        value = colours.gains[c] * float(image[c, y, x]) ** 0.8
        assert found[c, y, x].item() == pytest.approx(min(1, max(0, (value - 0.5) * 1.5 + 0.5 + 0.1)), abs=1e-6)
    assert torch.allclose(recolour(image, Colours()), image)
    torch.manual_seed(0)
    noisy = recolour(torch.full((1, 100, 100), 0.5), Colours(noise=0.05))
    assert noisy.std().item() == pytest.approx(0.05, rel=0.05)
