"""What a number of seeds can show: ranks of methods over seeds, and the difference that a paired test would find.

Sources: Friedman (1937) for ranks of several methods over the same seeds, as Demšar (JMLR 2006) recommends it for
comparisons of learning methods; the power of a t test by the noncentral t distribution (Cohen, 1988).
"""

import math

import numpy as np
import pandas as pd
from scipy import optimize, stats

LEVEL, POWER = 0.05, 0.8
"""Error of the first kind, two-sided, and the chance to find a difference that is there: those of Cohen."""


def mean_ranks(table: pd.DataFrame, smaller: bool) -> pd.Series:
    """Return the mean rank of each method over the seeds that all methods have; 1 is the best, ties share theirs.

    Args:
        table: A row a seed, a column a method; nan where a method has no run of the seed.
        smaller: Whether smaller values are better.
    """
    return table.dropna().rank(axis=1, ascending=smaller).mean()


def friedman(table: pd.DataFrame) -> float:
    """Return the p value of Friedman's test that all methods are alike; nan for fewer than three methods or two seeds.

    Args:
        table: As for `mean_ranks`.
    """
    complete = table.dropna()
    if len(complete) < 2 or complete.shape[1] < 3 or bool((complete.nunique(axis=1) == 1).all()):
        return math.nan
    return float(stats.friedmanchisquare(*complete.to_numpy().T).pvalue)


def detectable(deviation: float, pairs: int) -> float:
    """Return the difference that a paired t test at `LEVEL` finds with the chance `POWER`.

    Args:
        deviation: Standard deviation of the paired differences.
        pairs: Number of pairs; nan for fewer than two.
    """
    if pairs < 2 or not deviation > 0:
        return math.nan
    freedom = pairs - 1
    critical = stats.t.ppf(1 - LEVEL / 2, freedom)

    def missing(shift: float) -> float:
        return float(stats.nct.sf(critical, freedom, shift)) - POWER  # the other tail is below 1e-3 of this one

    most = critical  # by steps: far out the distribution is not a number
    while missing(most) < 0:
        most *= 1.1
    return float(optimize.brentq(missing, 0.0, most) * deviation / np.sqrt(pairs))
