"""Lanczos against spectra that are known."""

import numpy as np
import pytest
import torch

from cases import seeded
from nas_lightning.curvature.lanczos import lanczos


def symmetric(values, seed=0):
    """A dense matrix with these eigenvalues, and its eigenvectors by column."""
    values = torch.as_tensor(values, dtype=torch.float64)
    vectors = torch.linalg.qr(torch.randn(len(values), len(values), generator=seeded(seed), dtype=torch.float64)).Q
    return vectors @ values.diag() @ vectors.T, vectors


def spread(size=80):
    """A bulk around zero and a few large eigenvalues of both signs, as Hessians of networks have."""
    bulk = 0.05 * torch.randn(size - 5, generator=seeded(1), dtype=torch.float64)
    return torch.cat([bulk, torch.tensor([0.3, 0.5, 0.9, -0.8, -2.0], dtype=torch.float64)])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_largest_algebraic_eigenvalues(k, sign):
    matrix, _ = symmetric(sign * spread())
    expected = np.sort((sign * spread()).numpy())[::-1][:k]
    found = lanczos(lambda v: matrix @ v, 80, k, max_products=80)
    assert found.converged
    assert found.products < 60
    np.testing.assert_allclose(found.values, expected, atol=3e-5 * expected[0])


def test_repeated_eigenvalues_are_repeated():
    matrix, _ = symmetric([2.0] * 3 + [1.0] * 4 + [0.0] * 40)
    found = lanczos(lambda v: matrix @ v, 47, k=5)
    np.testing.assert_allclose(found.values, [2, 2, 2, 1, 1], atol=1e-10)
    assert found.products <= 15


@pytest.mark.parametrize(
    "values", [[0.0] * 6, [1.5] * 6, [-1.0] * 6, [3.0], [0.0], [-2.0], [-1.0, -3.0], [1e-30] * 5, [1e30, -1e30, 0.0]]
)
@pytest.mark.parametrize("k", [1, "all"])
def test_breakdown(values, k):
    """Invariant subspaces of one vector, and as many products as there are dimensions."""
    k = len(values) if k == "all" else k
    matrix, _ = symmetric(values)
    found = lanczos(lambda v: matrix @ v, len(values), k)
    assert found.converged
    assert found.products <= len(values)
    np.testing.assert_allclose(
        found.values, sorted(values, reverse=True)[:k], rtol=1e-12, atol=1e-14 * max(map(abs, values))
    )


def test_a_single_large_eigenvalue_takes_two_products():
    """Rank one: the space is invariant before the least number of products."""
    matrix, _ = symmetric([5.0] + [0.0] * 30)
    found = lanczos(lambda v: matrix @ v, 31)
    assert found.products == 2
    assert found.values[0] == pytest.approx(5.0)


@pytest.mark.parametrize("budget", range(1, 12))
def test_an_eigenvalue_lies_within_the_residual(budget):
    """Whether it has converged or not; without a budget to converge, that is said."""
    values = spread()
    matrix, _ = symmetric(values)
    found = lanczos(lambda v: matrix @ v, 80, min_products=1, max_products=budget)
    assert found.products <= budget
    assert (values - found.values[0]).abs().min() <= found.residuals[0] * (1 + 1e-9)
    if budget < 4:
        assert not found.converged


def test_the_shift_only_enters_the_tolerance():
    values = spread() - 0.9  # the largest is zero: relative to it nothing would ever be exact enough
    matrix, _ = symmetric(values)
    found = lanczos(lambda v: matrix @ v, 80, shift=1.0, max_products=80)
    assert found.products < 40
    assert abs(found.values[0]) < 3e-5


CLOSE = [1.0, 0.93, 0.54, -0.11, 0.3, -0.2, *np.linspace(0.2, -0.1, 218)]


def test_a_close_eigenvalue_is_not_taken_for_the_largest():
    """A start with little of the first vector passes the residual test at the second: ten products tell them apart."""
    matrix, vectors = symmetric(CLOSE)
    for seed in range(40):
        poor = torch.randn(224, generator=seeded(seed), dtype=torch.float64) / 224**0.5 + vectors[:, 1]
        found = lanczos(lambda v: matrix @ v, 224, guess=poor, seed=seed)
        assert found.values[0] == pytest.approx(1.0, rel=1e-4)
        assert found.products <= 20
    hasty = [lanczos(lambda v: matrix @ v, 224, min_products=1, seed=seed).values[0] for seed in range(200)]
    assert min(hasty) < 0.95  # the case exists


def test_a_useless_guess_does_no_harm():
    matrix, vectors = symmetric(spread())
    top = spread().argmax()
    for guess in (torch.zeros(80), torch.full((80,), torch.nan), vectors[:, (top + 1) % 80]):
        found = lanczos(lambda v: matrix @ v, 80, guess=guess.double())
        assert found.values[0] == pytest.approx(0.9, rel=1e-4)
    for sign in (1.0, -1.0):  # in one dimension one of them is opposite to the random start
        guess = torch.tensor([sign], dtype=torch.float64)
        assert lanczos(lambda v: 3 * v, 1, guess=guess).values[0] == pytest.approx(3)


def test_products_in_low_precision():
    """Rounding of the products is no reason to go on for ever."""
    matrix, _ = symmetric(spread())
    low = matrix.float()
    found = lanczos(lambda v: (low @ v.float()).double(), 80, rtol=0.0, epsilon=torch.finfo(torch.float32).eps)
    assert found.converged
    assert found.products < 45
    assert found.values[0] == pytest.approx(0.9, rel=1e-6)


def test_products_that_are_not_finite_end_it():
    found = lanczos(lambda v: v * torch.nan, 5)
    assert np.isnan(found.values).all()
    assert found.products == 1
    assert not found.converged


def test_equal_seeds_give_equal_bits():
    matrix, _ = symmetric(spread())
    first, again, other = (lanczos(lambda v: matrix @ v, 80, seed=seed) for seed in (3, 3, 4))
    assert first.values[0] == again.values[0]
    assert first.residuals[0] == again.residuals[0] != other.residuals[0]
