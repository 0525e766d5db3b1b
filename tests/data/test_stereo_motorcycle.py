"""The pair of scikit-image: the sign of its truth, its sizes, and that it is optional."""

import numpy as np
import pytest
import torch

from nas_lightning.data import stereo_motorcycle
from nas_lightning.data.stereo_motorcycle import motorcycle

pytest.importorskip("skimage")


def test_points_are_further_left_in_the_right_image():
    left, right, disparity = motorcycle(reach=64.0, multiple=1)
    assert disparity.shape == (1, 500, 741)
    assert int(torch.isnan(disparity).sum()) == 27_226
    assert (float(disparity.nan_to_num(99).min()), float(disparity.nan_to_num(0).max())) == pytest.approx(
        (7.19, 59.91), abs=0.01
    )
    columns, errors = np.arange(741.0), {}
    for sign in (0, 1, -1):
        found = []
        for row in range(0, 500, 10):
            target = columns - sign * disparity[0, row].numpy()
            good = (target >= 0) & (target <= 740)
            found.append(np.abs(np.interp(target, columns, right[0, row]) - left[0, row].numpy())[good])
        errors[sign] = 255 * np.concatenate(found).mean()
    assert errors[1] < 12 < 30 < errors[0]
    assert errors[-1] > 30


def test_it_is_reduced_until_the_network_reaches_it():
    left, right, disparity = motorcycle(reach=32.0, multiple=8)
    assert left.shape == right.shape == (3, 248, 368)
    assert disparity.shape == (1, 248, 368)
    assert 29 < disparity.nan_to_num(0).max() <= 32
    assert motorcycle(reach=4.0, multiple=64) is None


def test_without_scikit_image_there_is_none(monkeypatch):
    monkeypatch.setattr(stereo_motorcycle, "find_spec", lambda name: None)
    assert motorcycle(32.0, 8) is None
