"""Correlation of features against a loop, and its derivatives against differences."""

import numpy as np
import pytest
import torch

from nas_lightning.disparity.correlation import correlation


def features(seed=0, shape=(2, 3, 4, 7)):
    rng = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("displacement", [0, 1, 4, 9])
def test_products_against_a_loop(displacement, both):
    left, right = features()
    found = correlation(left, right, displacement, both).numpy()
    shifts = range(-displacement if both else 0, displacement + 1)
    assert found.shape == (2, len(shifts), 4, 7)
    for (b, y, x), (place, d) in ((at, shift) for at in np.ndindex(2, 4, 7) for shift in enumerate(shifts)):
        product = left[b, :, y, x] @ right[b, :, y, x - d] / 3 if 0 <= x - d < 7 else torch.zeros(())
        assert found[b, place, y, x] == pytest.approx(float(product), abs=1e-14)


@pytest.mark.parametrize("both", [False, True])
def test_first_and_second_derivatives(both):
    left, right = (x.requires_grad_() for x in features(shape=(1, 2, 2, 4)))
    assert torch.autograd.gradcheck(lambda *pair: correlation(*pair, 2, both), (left, right))
    assert torch.autograd.gradgradcheck(lambda *pair: correlation(*pair, 2, both), (left, right))


@pytest.mark.parametrize("shift", [0, 2, 5])
def test_a_shifted_image_is_found_at_its_shift(shift):
    left, _ = features(shape=(1, 16, 3, 20))
    left = left / left.norm(dim=1, keepdim=True)
    right = torch.roll(left, -shift, dims=3)  # what is at x in the left image is at x − shift in the right one
    best = correlation(left, right, 6).argmax(dim=1)
    assert (best[..., 6:] == shift).all()
    assert (correlation(left, right, 6, both_directions=True).argmax(dim=1)[..., 6:-6] == shift + 6).all()
