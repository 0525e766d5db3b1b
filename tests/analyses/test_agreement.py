from itertools import combinations

import pytest

from nas_lightning.analyses import Patience, agreement


def tau_b(first, second):
    """Kendall's τ_b, pair by pair."""
    pairs = [(first[i] - first[j], second[i] - second[j]) for i, j in combinations(range(len(first)), 2)]
    concordant = sum(a * b > 0 for a, b in pairs)
    discordant = sum(a * b < 0 for a, b in pairs)
    untied = [sum(pair[side] != 0 for pair in pairs) for side in (0, 1)]
    return (concordant - discordant) / (untied[0] * untied[1]) ** 0.5


@pytest.mark.parametrize(
    ("weights", "accuracies"),
    [
        ([0.4, 0.3, 0.2, 0.1], [90.0, 92.0, 91.0, 80.0]),
        ([0.4, 0.2, 0.2, 0.2], [90.0, 92.0, 92.0, 80.0]),
        ([0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]),
        ([0.6, 0.4], [80.0, 81.0]),
    ],
)
def test_kendall(weights, accuracies):
    found = agreement("abcd"[: len(weights)], weights, accuracies)
    assert found.kendall_tau == pytest.approx(tau_b(weights, accuracies), abs=1e-6)
    assert found.by_weight == "abcd"[weights.index(max(weights))]


def test_equal_values():
    assert agreement("ab", [0.5, 0.5], [80.0, 90.0]) == agreement("ab", [0.5, 0.5], [80.0, 90.0])
    assert agreement("ab", [0.5, 0.5], [80.0, 90.0]).by_weight == "a"
    assert agreement("ab", [0.5, 0.5], [80.0, 90.0]).kendall_tau is None
    tied = agreement("abc", [0.2, 0.5, 0.3], [90.0, 90.0, 80.0])  # nothing speaks against the weights
    assert (tied.by_accuracy, tied.agrees) == ("b", True)
    assert agreement("a", [1.0], [50.0]).kendall_tau is None


def test_patience_waits_for_so_many_epochs_without_a_better_value():
    for epochs in (1, 2, 3):
        patience = Patience(epochs)
        values = [1.0, 5.0, *[5.0] * epochs]
        assert [patience.update(value) for value in values] == [False] * (len(values) - 1) + [True]
        assert patience.best == 5.0
