"""Reliability of a table of accuracies: its spread between architectures against that between seeds.

Sources: Spearman (1904) for the correlation of ranks; Spearman (1910) and Brown (1910) for the reliability of a mean of
S measurements of which two correlate by r: S·r / (1 + (S − 1)·r).
Shapes: N architectures, S seeds.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import spearmanr


@dataclass(frozen=True)
class Reliability:
    """Spread of a table due to the architectures, and spread due to the seeds.

    Args:
        between: Standard deviation between the means of the architectures, in percentage points.
        within: Standard deviation between the seeds of an architecture, in percentage points, pooled over the
            architectures as the root of the mean variance: with few seeds the mean of the deviations is biased.
        rank_correlation: Spearman's correlation between two seeds, averaged over all pairs of seeds.
        of_the_mean: Spearman and Brown's reliability of the mean over all seeds.
    """

    between: float
    within: float
    rank_correlation: float
    of_the_mean: float

    @property
    def separates_architectures(self) -> bool:
        """Return True if the spread between architectures is at least twice that between seeds."""
        return self.between >= 2 * self.within


def reliability(accuracies: np.ndarray) -> Reliability | None:
    """Return the reliability of accuracies [N, S] in percent; None for fewer than three architectures or two seeds."""
    architectures, seeds = accuracies.shape
    if architectures < 3 or seeds < 2:
        return None
    pairs = combinations(accuracies.T, 2)
    rho = float(np.mean([spearmanr(one, other).statistic for one, other in pairs]))
    return Reliability(
        between=float(accuracies.mean(axis=1).std(ddof=1)),
        within=float(accuracies.var(axis=1, ddof=1).mean() ** 0.5),
        rank_correlation=rho,
        of_the_mean=seeds * rho / (1 + (seeds - 1) * rho),
    )
