"""Agreement of the ranking of operations by mixing weight with their ranking by strength.

Source: Wang et al., Rethinking architecture selection in differentiable NAS (ICLR 2021), figures 2.1 and 2.2 of the
thesis, which are bar charts; the numbers here are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import kendalltau


@dataclass(frozen=True)
class Agreement:
    """Comparison of two rankings of the options of a row.

    Args:
        by_weight: Option with the largest mixing weight.
        by_accuracy: Option with the highest accuracy, or the best value of another metric.
        kendall_tau: Kendall's τ_b of weights and accuracies, from −1 to 1; None if either is constant.
    """

    by_weight: str
    by_accuracy: str
    kendall_tau: float | None

    @property
    def agrees(self) -> bool:
        """Return True if both choose the same option."""
        return self.by_weight == self.by_accuracy


def agreement(options: Sequence[str], weights: Sequence[float], accuracies: Sequence[float]) -> Agreement:
    """Compare two rankings of one row.

    Ties of weights go to the first option. Ties of accuracies go to the option with the larger weight, so that they
    do not count as disagreement.

    Args:
        options: Names, at least one.
        weights: Mixing weights.
        accuracies: Accuracies with the row fixed to each option, or values of another metric: larger is better, so
            errors are negated.

    >>> agreement(["skip", "sep"], [0.7, 0.3], [85.0, 88.0])
    Agreement(by_weight='skip', by_accuracy='sep', kendall_tau=-1.0)
    """
    indices = range(len(options))
    by_weight = max(indices, key=lambda i: weights[i])
    by_accuracy = max(indices, key=lambda i: (accuracies[i], weights[i]))
    tau: float | None = None
    if len(set(weights)) > 1 and len(set(accuracies)) > 1:
        tau = round(float(kendalltau(weights, accuracies).statistic), 6)
    return Agreement(options[by_weight], options[by_accuracy], tau)
