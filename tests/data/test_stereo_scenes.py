"""Rendered pairs: the truth is exact, hidden points are hidden, and an index is always the same pair."""

import numpy as np
import pytest
import torch

from nas_lightning.core.errors import DataError
from nas_lightning.data.block_matching import block_matching
from nas_lightning.data.stereo_scenes import Scene, SceneSettings, render

PLAIN = SceneSettings(photometric=0.0)
INDICES = range(8)


def grid(settings):
    y, x = np.mgrid[: settings.height, : settings.width].astype(float)
    return x, y


@pytest.mark.parametrize("index", INDICES)
def test_points_that_both_views_show_have_equal_colours(index):
    scene = Scene(PLAIN, 3, index)
    x, y = grid(PLAIN)
    shown, disparity, _ = scene.nearest(x, y, right=False)
    visible = ~scene.occluded(shown, disparity, x, y)
    assert 0.5 < visible.mean() < 1
    other, seen, column = scene.nearest(x - disparity, y, right=True)
    error = np.abs(scene.colours(shown, x, y) - scene.colours(other, column, y))
    assert error[:, visible].max() < 1e-9
    assert error.max() > 0.1  # hidden points show something else
    assert np.abs(seen - disparity)[visible].max() < 1e-9


@pytest.mark.parametrize("index", INDICES)
def test_images_match_after_warping(index):
    """By the rendered images alone, with linear interpolation between columns."""
    pair = render(PLAIN, 3, index)
    x, _ = grid(PLAIN)
    target = x - pair.disparity
    warped = np.stack(
        [[np.interp(t, x[0], row) for t, row in zip(target, channel, strict=True)] for channel in pair.right]
    )
    error, before = np.abs(warped - pair.left).mean(axis=0), np.abs(pair.right - pair.left).mean(axis=0)
    visible = ~pair.occluded
    assert error[visible].mean() < 0.03
    assert error[visible].mean() < 0.5 * before[visible].mean()
    back = np.stack([[np.interp(t, x[0], row) for t, row in zip(x + pair.disparity_right, channel, strict=True)]
                     for channel in pair.left])  # fmt: skip
    assert np.median(np.abs(back - pair.right)) < 0.02


@pytest.mark.parametrize("index", INDICES)
def test_hidden_points_against_a_depth_buffer(index):
    """Points of the left view, sixteen to a pixel, fall into a buffer of the right view, and the nearest stay."""
    finer = 16
    scene, settings = Scene(PLAIN, 3, index), PLAIN
    width, rows = settings.width, range(0, settings.height, 8)
    wide = np.arange(0, width + settings.max_disparity, 1 / finer)
    agree = []
    for row in rows:
        buffer = np.full((width - 1) * finer + 1, -np.inf)
        for layer in scene.layers:
            y = np.full(wide.shape, float(row))
            covered = layer.covers(wide, y)
            disparity = layer.disparity(wide, y)[covered]
            place = np.rint((wide[covered] - disparity) * finer).astype(int)
            for p, d in zip(place, disparity, strict=True):
                for near in (p - 1, p, p + 1):  # planes may be stretched in the right view
                    if 0 <= near < len(buffer):
                        buffer[near] = max(buffer[near], d)
        x, y = np.arange(width, dtype=float), np.full(width, float(row))
        shown, disparity, _ = scene.nearest(x, y, right=False)
        found = scene.occluded(shown, disparity, x, y)
        target = x - disparity
        inside = (target >= 0) & (target <= width - 1)
        place = np.clip(np.rint(target * finer).astype(int), 0, len(buffer) - 1)
        expected = ~inside | (buffer[place] > disparity + 2 * 0.04 * 2 / finer + 1e-9)
        agree.append(found == expected)
    assert np.mean(agree) >= 0.995


def test_disparities_stay_within_the_bounds():
    settings = SceneSettings(min_disparity=2.0, max_disparity=12.0)
    found = [render(settings, 0, index) for index in range(20)]
    values = np.concatenate([np.ravel(one) for pair in found for one in (pair.disparity, pair.disparity_right)])
    assert 2 <= values.min() < 3.5
    assert 10 < values.max() <= 12


def test_an_index_is_always_the_same_pair_and_no_other():
    first, again, other, seed = (render(SceneSettings(), *key) for key in ((0, 5), (0, 5), (0, 6), (1, 5)))
    for name in ("left", "right", "disparity", "occluded", "disparity_right"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert not np.array_equal(first.left, other.left)
    assert not np.array_equal(first.left, seed.left)
    assert first.left.dtype == np.float32
    assert first.left.min() >= 0
    assert first.left.max() <= 1


def test_photometric_differences_leave_the_truth_alone():
    plain, changed = render(PLAIN, 0, 1), render(SceneSettings(), 0, 1)
    assert np.array_equal(plain.disparity, changed.disparity)
    assert 0 < np.abs(plain.left - changed.left).mean() < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_disparity": 20.0}, r"^data\.min_disparity=20: .*data\.min_disparity=0$"),
        ({"max_disparity": 100.0}, r"^data\.max_disparity=100: .*data\.max_disparity=64$"),
    ],
)
def test_disparities_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        SceneSettings(**changes)


def test_block_matching_against_a_loop():
    rng = np.random.default_rng(0)
    pairs = rng.random((2, 4, 9, 12))
    found = block_matching(torch.from_numpy(pairs), 3, size=3)[:, 0].numpy()
    left, right = pairs[:, :2], pairs[:, 2:]
    for b in range(2):
        for y in range(9):
            for x in range(12):
                costs = []
                for d in range(4):
                    cells = [
                        np.abs(left[b, :, v, u] - right[b, :, v, u - d]).mean()
                        for v in range(max(0, y - 1), min(9, y + 2))
                        for u in range(max(d, x - 1), min(12, x + 2))
                    ]
                    costs.append(np.mean(cells) if cells and x >= d else np.inf)
                assert found[b, y, x] == np.argmin(costs)


def test_block_matching_finds_what_it_can_see():
    """Far better than the mean, on visible points better than on all."""
    pairs = [render(SceneSettings(), 1, index) for index in range(12)]
    images = torch.from_numpy(np.stack([np.concatenate([pair.left, pair.right]) for pair in pairs]))
    truth = np.stack([pair.disparity for pair in pairs])
    hidden = np.stack([pair.occluded for pair in pairs])
    error = np.abs(block_matching(images, 16)[:, 0].numpy() - truth)
    constant = np.abs(truth - truth.mean())
    assert error[~hidden].mean() < error.mean() < 0.7 * constant.mean()
