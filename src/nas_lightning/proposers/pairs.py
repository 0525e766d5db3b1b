"""Pairs of candidates of which one is better, and the loss of scores that should say so.

Source: Wang et al., RANK-NOSH (ICCV 2021): a higher level wins, at equal levels the higher score, because
scores of different levels do not compare. The form of the loss is ours: binary cross-entropy of the logistic of the
difference. It does not change where a constant is added to all scores.
Shapes: N candidates, P pairs, M members of an ensemble.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas_lightning.core.proposer import Judged


def ordered_pairs(history: Sequence[Judged], margin: float = 0.0) -> Tensor:
    """Return all pairs that are not ties, the places of the better candidates and of the worse ones, [2, P].

    A candidate that has failed is worse than all others, of whatever level.

    Args:
        history: The candidates.
        margin: Scores of a level that differ by less are ties; equal ones always are.
    """
    level = torch.tensor([judged.merit[0] for judged in history])
    score = torch.tensor([judged.merit[1] for judged in history], dtype=torch.float64)
    higher = level[:, None] > level[None, :]
    equal = level[:, None] == level[None, :]
    above = (score[:, None] > score[None, :]) & (score[:, None] - score[None, :] >= margin)
    return (higher | (equal & above)).nonzero().T


def ranking_loss(scores: Tensor, pairs: Tensor) -> Tensor:
    """Return the mean of softplus(−(score of the better − score of the worse)), a scalar.

    Args:
        scores: [M, N], or [N].
        pairs: Places of the better and of the worse, [2, P].
    """
    better, worse = scores[..., pairs[0]], scores[..., pairs[1]]
    return torch.nn.functional.softplus(worse - better).mean()
