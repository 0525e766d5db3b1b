"""How good an accuracy is among all of a table: its rank, and the expected accuracy of random search.

Random search draws n of N architectures without replacement, all subsets equally likely, and keeps the one with the
highest feedback, for instance its validation accuracy after a short training; its test accuracy counts. The
expectation is exact. In ascending order of feedback, the i-th of N is the highest of the draw with probability

    p(i) = C(i − 1, n − 1) / C(N, n),  so that  p(N) = n / N  and  p(i − 1) = p(i) · (i − n) / (i − 1).

The recurrence has positive terms only: no binomial overflows and nothing cancels. Where several share the feedback, one
of those drawn is kept at random, so that by symmetry the mean of all of them counts.

Sources: the distribution of the largest of a sample from a finite population; Li & Talwalkar (UAI 2019), Yang et al.
(ICLR 2020) for random search as the measure of a search.
Shapes: N architectures.
"""

import numpy as np


def rank(accuracies: np.ndarray, accuracy: float) -> int:
    """Return the rank of an accuracy among all: 1 plus the number of higher ones.

    So 1 is the best, and equal accuracies share the best of their ranks.

    >>> rank(np.array([90.0, 94.0, 94.0, np.nan, 91.0]), 94.0), rank(np.array([90.0, 94.0, 94.0, np.nan, 91.0]), 91.0)
    (1, 3)

    Args:
        accuracies: All accuracies, [N]; nan does not count.
        accuracy: The one to rank.
    """
    return 1 + int(np.count_nonzero(accuracies > accuracy))


def chances_of_winning(count: int, draws: int) -> np.ndarray:
    """Return the probability of each place, in ascending order, to be the highest of the places drawn, [N].

    >>> chances_of_winning(3, 2).round(4).tolist()
    [0.0, 0.3333, 0.6667]

    Args:
        count: Number of places N.
        draws: Number of places drawn without replacement, from 1 to N.
    """
    places = np.arange(count, 1, -1)
    ratios = np.maximum(places - draws, 0) / (places - 1)
    descending = draws / count * np.concatenate(([1.0], np.cumprod(ratios)))
    return descending[::-1]


def draws_shown(count: int) -> list[int]:
    """Return the numbers of draws at which a curve is computed: all up to ten, then ten a decade, at last all N.

    >>> draws_shown(20)
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 16, 20]

    Args:
        count: Number of architectures N.
    """
    beyond = (round(10 ** (1 + step / 10)) for step in range(10 * len(str(count))))
    return sorted({draws for draws in (*range(1, 10), *beyond, count) if 0 < draws <= count})


def expected_accuracy(accuracies: np.ndarray, feedback: np.ndarray, draws: int) -> float | None:
    """Return the expected accuracy of the architecture that random search keeps.

    Args:
        accuracies: What counts of the architecture kept, [N].
        feedback: What it is chosen by, the highest, [N].
        draws: Number of architectures drawn; all of them where there are fewer.

    Returns:
        None where no architecture has both values; those with a nan are never drawn.
    """
    known = ~(np.isnan(accuracies) | np.isnan(feedback))
    count = int(np.count_nonzero(known))
    if not count:
        return None
    _, group = np.unique(feedback[known], return_inverse=True)  # groups of equal feedback, ascending
    means = np.bincount(group, accuracies[known]) / np.bincount(group)
    winning = np.bincount(np.sort(group), chances_of_winning(count, min(draws, count)))
    return float(winning @ means)
