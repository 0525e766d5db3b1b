"""Rank and random search: against all subsets of tiny tables, fractions, and draws."""

from fractions import Fraction
from itertools import combinations
from math import comb
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from nas_lightning.evaluation.chance import chances_of_winning, expected_accuracy, rank
from nas_lightning.evaluation.table import load

NAN = float("nan")


def by_all_subsets(accuracies, feedback, draws):
    """Every subset once; of those with the highest feedback in it, each counts equally."""
    found = []
    for subset in combinations(range(len(accuracies)), draws):
        highest = max(feedback[i] for i in subset)
        found.append(fmean(accuracies[i] for i in subset if feedback[i] == highest))
    return fmean(found)


@pytest.mark.parametrize("draws", range(1, 10))
@pytest.mark.parametrize("values", [9, 4, 2, 1], ids=["few ties", "ties", "many ties", "all equal"])
def test_against_all_subsets(draws, values):
    rng = np.random.default_rng(draws)
    feedback = rng.integers(values, size=9).astype(float)
    accuracies = rng.normal(90, 5, size=9)
    expected = by_all_subsets(list(accuracies), list(feedback), draws)
    assert expected_accuracy(accuracies, feedback, draws) == pytest.approx(expected, rel=1e-13)


def test_by_hand():
    """Three pairs of three: {a, b} and {b, c} keep b, {a, c} keeps a."""
    accuracies, feedback = np.array([70.0, 90.0, 80.0]), np.array([2.0, 3.0, 1.0])
    assert expected_accuracy(accuracies, feedback, 2) == pytest.approx((90 + 90 + 70) / 3)
    assert expected_accuracy(accuracies, feedback, 1) == pytest.approx(80)
    assert expected_accuracy(accuracies, feedback, 3) == 90
    assert expected_accuracy(accuracies, feedback, 50) == 90


def test_what_is_not_measured_is_not_drawn():
    accuracies, feedback = np.array([70.0, NAN, 80.0, 60.0]), np.array([2.0, 3.0, NAN, 1.0])
    assert expected_accuracy(accuracies, feedback, 1) == 65
    assert expected_accuracy(accuracies, feedback, 2) == 70
    assert expected_accuracy(accuracies, np.full(4, NAN), 1) is None


@pytest.mark.parametrize("draws", [1, 2, 10, 100, 5000, 15_624, 15_625])
def test_chances_are_exact_in_a_large_table(draws):
    count = 15_625
    found = chances_of_winning(count, draws)
    assert found.sum() == pytest.approx(1, rel=1e-11)
    for place in {1, max(1, draws - 1), draws, (draws + count) // 2, count - 1, count}:
        exact = float(Fraction(comb(place - 1, draws - 1), comb(count, draws)))
        assert found[place - 1] == pytest.approx(exact, rel=1e-10, abs=1e-300)


def test_against_draws_from_the_table_that_comes_with_the_package():
    table, rng, draws, times = load("nasbench201"), np.random.default_rng(0), 10, 20_000
    accuracies, feedback = table.columns["cifar10_test_200"], table.columns["cifar10_valid_12"]
    # The few draws with a duplicate are left out: what remains is a draw without replacement.
    drawn = rng.integers(len(accuracies), size=(times, draws))
    drawn = drawn[[len(set(row)) == draws for row in drawn.tolist()]]
    assert len(drawn) > 0.99 * times
    kept = accuracies[np.take_along_axis(drawn, feedback[drawn].argmax(axis=1)[:, None], axis=1)[:, 0]]
    error = kept.std() / len(kept) ** 0.5
    assert error < 0.02
    assert expected_accuracy(accuracies, feedback, draws) == pytest.approx(kept.mean(), abs=4 * error)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10", (92.578, 93.467, 93.730, 93.999)),
        ("cifar100", (68.933, 70.594, 71.184, 72.091)),
        ("in16_120", (41.996, 44.196, 44.862, 45.702)),
    ],
)
def test_near_draws_with_replacement(name, expected):
    """There the chance of place i is (i/N)ⁿ − ((i − 1)/N)ⁿ; so few draws hardly ever repeat one of so many."""
    table = load("nasbench201")
    accuracies, feedback = table.columns[f"{name}_test_200"], table.columns[f"{name}_valid_12"]
    places = np.arange(15_626) / 15_625
    for draws, value in zip((10, 50, 100, 500), expected, strict=True):
        with_replacement = np.diff(places**draws) @ accuracies[np.argsort(feedback, kind="stable")]
        assert with_replacement == pytest.approx(value, abs=0.007)
        assert expected_accuracy(accuracies, feedback, draws) == pytest.approx(value, abs=0.007)


def test_the_numbers_of_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.partition("| draws |")[2].splitlines()[2:6]]
    assert [row[0].split()[0] for row in rows] == ["1", "10", "100", "1,000"]
    columns = load("nasbench201").columns
    for draws, *found in rows:
        count = int(draws.split()[0].replace(",", ""))
        for value, name in zip(found, ("cifar10", "cifar100", "in16_120"), strict=True):
            expected = expected_accuracy(columns[f"{name}_test_200"], columns[f"{name}_valid_12"], count)
            assert value == f"{expected:.2f}"


def test_rank():
    accuracies = np.array([90.0, 94.0, NAN, 94.0, 91.0, 54.3])
    assert [rank(accuracies, value) for value in (94.0, 91.0, 90.0, 54.3)] == [1, 3, 4, 5]
