"""Whether a table can tell architectures apart: the spread between them against the spread between seeds.

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
    """How much of a table is the architectures and how much is chance.

    Args:
        between: Standard deviation between the means of the architectures, percentage points.
        within: Standard deviation between the seeds of an architecture, pooled over the architectures: root of
            the mean variance, which is unbiased with few seeds, as the mean of deviations is not.
        rank_correlation: Spearman's between two seeds, averaged over all pairs of seeds.
        of_the_mean: Spearman and Brown's for the mean over all seeds.
    """

    between: float
    within: float
    rank_correlation: float
    of_the_mean: float

    @property
    def tells_apart(self) -> bool:
        """Whether architectures differ at least twice as much as seeds."""
        return self.between >= 2 * self.within


def reliability(accuracies: np.ndarray) -> Reliability | None:
    """What [N, S] accuracies in percent say; None with fewer than three architectures or two seeds."""
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
