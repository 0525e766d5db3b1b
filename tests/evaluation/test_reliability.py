"""Spread and rank reliability on numbers small enough for the hand."""

import numpy as np
import pytest

from nas_lightning.evaluation.reliability import reliability


def test_by_hand():
    """Three architectures, three seeds; ranks 1 2 3, 1 2 3 and 2 1 3: correlations 1, ½ and ½."""
    found = reliability(np.array([[10.0, 12.0, 21.0], [20.0, 22.0, 18.0], [30.0, 32.0, 28.0]]))
    means = [43 / 3, 20, 30]
    centre = sum(means) / 3
    assert found.between == pytest.approx((sum((m - centre) ** 2 for m in means) / 2) ** 0.5)
    first = ((10 - 43 / 3) ** 2 + (12 - 43 / 3) ** 2 + (21 - 43 / 3) ** 2) / 2
    assert found.within == pytest.approx(((first + 4 + 4) / 3) ** 0.5)
    assert found.rank_correlation == pytest.approx(2 / 3)
    assert found.of_the_mean == pytest.approx(6 / 7)  # 3 · ⅔ / (1 + 2 · ⅔)
    assert found.separates_architectures == (found.between >= 2 * found.within)


def test_the_mean_of_noisy_seeds_is_as_reliable_as_said():
    """With normal scores, the squared correlation of mean and truth is Spearman and Brown's, up to ranks and chance."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=4000)
    scores = truth[:, None] + rng.normal(size=(4000, 3))
    found = reliability(scores)
    assert found.of_the_mean == pytest.approx(np.corrcoef(truth, scores.mean(axis=1))[0, 1] ** 2, abs=0.02)


def test_too_few():
    assert reliability(np.ones((2, 3))) is None
    assert reliability(np.ones((5, 1))) is None
