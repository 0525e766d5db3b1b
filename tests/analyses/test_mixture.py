"""Proposition 1: the closed form against a numerical optimum, and what follows from it."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from nas_lightning.analyses import optimal_mixture


def draws(number=4000, seed=0):
    """A target and two errors of mean 0 and variance 1 that are uncorrelated to the last digit."""
    rng = np.random.default_rng(seed)
    target, first, second = rng.normal(3.0, 2.0, number), rng.normal(size=number), rng.uniform(-1, 1, number)
    first -= first.mean()
    second -= second.mean()
    second -= first * (first @ second) / (first @ first)
    return target, first / first.std(), second / second.std()


def numerical_optimum(convolution, skip, target):
    """The θ_conv of least variance, by a search over [0, 1]."""

    def variance(theta):
        return np.var(theta * convolution + (1 - theta) * skip - target)

    return minimize_scalar(variance, bounds=(0, 1), method="bounded", options={"xatol": 1e-12}).x


@pytest.mark.parametrize(("around_convolution", "around_skip"), [(1.0, 1.0), (0.5, 2.0), (3.0, 0.2), (1.0, 0.01)])
def test_closed_form_is_the_optimum(around_convolution, around_skip):
    target, first, second = draws()
    convolution, skip = target + around_convolution * first, target + around_skip * second
    found = optimal_mixture(*map(torch.from_numpy, (convolution, skip, target)))
    assert found[0] == pytest.approx(numerical_optimum(convolution, skip, target), abs=1e-6)
    assert sum(found) == pytest.approx(1)
    # θ_conv : θ_skip = var(x − m*) : var(o(x) − m*)
    assert found[0] * around_convolution**2 == pytest.approx(found[1] * around_skip**2)


def test_independent_errors_come_near_it():
    """Independent draws are correlated a little; the closed form leaves that out."""
    rng = np.random.default_rng(1)
    target = rng.normal(size=100_000)
    convolution, skip = target + rng.normal(size=target.size), target + 0.5 * rng.laplace(size=target.size)
    found = optimal_mixture(*map(torch.from_numpy, (convolution, skip, target)))
    assert found[0] == pytest.approx(numerical_optimum(convolution, skip, target), abs=0.01)


def test_constant_offsets_do_not_count():
    target, first, second = (torch.from_numpy(values) for values in draws())
    plain = optimal_mixture(target + first, target + 0.5 * second, target)
    assert optimal_mixture(target + first + 7, target + 0.5 * second - 3, target) == pytest.approx(plain)


def test_the_skip_connection_wins_as_its_input_nears_the_target():
    """A better supernet: x moves to m*, the convolution stays as good as it is."""
    target, first, second = (torch.from_numpy(values) for values in draws())
    distances = [2.0, 1.5, 1.0, 0.5, 0.1, 0.0]
    weights = [optimal_mixture(target + first, target + distance * second, target)[1] for distance in distances]
    assert weights == sorted(weights)
    for distance, weight in zip(distances, weights, strict=True):
        assert (weight > 0.5) == (distance < 1) or distance == 1
    assert weights[-1] == 1


def test_nothing_to_choose():
    target = torch.ones(5)
    assert optimal_mixture(target, target, target) == (0.5, 0.5)
