"""Power and ranks: against simulated experiments, textbook values and a table ranked by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nas_lightning.reports.power import detectable, friedman, mean_ranks


@pytest.mark.parametrize("pairs", [2, 3, 6, 12])
def test_the_detectable_difference_is_found_four_times_in_five(pairs):
    rng, deviation = np.random.default_rng(pairs), 2.5
    samples = rng.normal(detectable(deviation, pairs), deviation, size=(20_000, pairs))
    found = stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_more_pairs_show_smaller_differences():
    assert detectable(1.0, 34) == pytest.approx(0.4949, abs=1e-3)  # Cohen's d of 0.5 takes 34 pairs
    assert detectable(2.0, 6) == pytest.approx(2 * detectable(1.0, 6))
    assert math.isnan(detectable(1.0, 1))
    assert math.isnan(detectable(0.0, 6))


def test_ranks_by_hand():
    table = pd.DataFrame({"a": [1.0, 2.0, 5.0, 1.0], "b": [2.0, 2.0, 4.0, 1.0], "c": [3.0, 1.0, 3.0, np.nan]})
    assert mean_ranks(table, smaller=True).to_dict() == pytest.approx({"a": 6.5 / 3, "b": 6.5 / 3, "c": 5 / 3})
    assert mean_ranks(table, smaller=False)["c"] == pytest.approx((1 + 3 + 3) / 3)


def test_friedman_by_its_formula():
    """Without ties: 12 / (n k (k + 1)) · Σ R² − 3 n (k + 1) with rank sums R, chi-squared with k − 1 degrees."""
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 4)), columns=list("abcd"))
    sums = table.rank(axis=1).sum().to_numpy()
    statistic = 12 / (6 * 4 * 5) * (sums**2).sum() - 3 * 6 * 5
    assert friedman(table) == pytest.approx(stats.chi2.sf(statistic, 3))
    assert math.isnan(friedman(table[["a", "b"]]))
    assert math.isnan(friedman(table.iloc[:1]))
    assert math.isnan(friedman(table * 0))
