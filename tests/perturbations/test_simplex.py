"""The way back to the simplex, against a loop over rows and options."""

import pytest
import torch

from cases import seeded
from nas_lightning.perturbations.simplex import onto_simplex
from perturbations_reference import RAGGED, check_simplex, projected


@pytest.mark.parametrize("spread", [0.01, 0.3, 3.0])
@pytest.mark.parametrize("shift", [0.3, -1.0])
def test_projection_matches_the_loop(spread, shift):
    """From rows that hardly move to rows of which clamping leaves nothing."""
    for seed in range(50):
        rows = shift + spread * torch.randn(3, 4, generator=seeded(seed), dtype=torch.float64)
        found = onto_simplex(rows, RAGGED.mask)
        check_simplex(found, RAGGED)
        torch.testing.assert_close(found, projected(rows, RAGGED), rtol=1e-14, atol=1e-15)


def test_nothing_left_goes_to_the_largest_option_that_the_row_has():
    """Zeros beyond the end of a short row are larger than its own entries, and must not be taken."""
    rows = torch.tensor([[-3.0, -1.0, -2.0, -4.0], [-1.0, 0, 0, 0], [-0.1, -0.2, 0, 0]], dtype=torch.float64)
    expected = torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.float64)
    assert torch.equal(onto_simplex(rows, RAGGED.mask), expected)


def test_division_and_not_a_euclidean_projection():
    rows = torch.tensor([[1.5, 0.5, 0.5, -0.5]], dtype=torch.float64)  # nearest point of the simplex: (1, 0, 0, 0)
    expected = torch.tensor([[0.5, 0.25, 0.25, 0.0]], dtype=torch.float64)
    assert torch.equal(onto_simplex(rows, torch.ones(1, 4, dtype=torch.bool)), expected)
