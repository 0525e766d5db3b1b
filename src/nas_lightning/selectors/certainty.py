"""Certainty of a search about each edge: the scores of SGAS.

Source: Li et al., SGAS (CVPR 2020), section 3.3, and its released code. Each score is scaled to [0, 1] over the rows of
a choice. A score that is equal for all rows is left out; the released code sets it to zeros, so that in a space without
`none`, where all edges are equally important, it would decide the first edge.
Shapes: R rows and O options of a choice.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from nas_lightning.core.choices import Choice

Criterion = Literal["importance_certainty", "importance_certainty_stability"]


def operations_of(weights: Tensor, choice: Choice) -> tuple[Tensor, Tensor]:
    """Return the importance of each edge, and the distribution over its operations without `none`.

    Args:
        weights: Mixing weights [R, O] of undecided rows; rows sum to 1.
        choice: The choice.

    Returns:
        EI [R], the weight on operations other than `none`, and q [R, O], 0 on `none`.
    """
    real = torch.tensor(
        [[op != "none" for op in row] + [False] * (choice.num_options - len(row)) for row in choice.options]
    )
    weights = weights.detach().cpu().double()
    importance = (weights * real).sum(dim=1)
    offers_none = torch.tensor(["none" in row for row in choice.options])
    # Exactly 1 without `none`, not up to rounding: equal scores must be recognised as equal.
    importance = torch.where(offers_none, importance, torch.ones_like(importance))
    return importance, weights * real / importance.clamp(min=1e-30)[:, None]


def certainty(q: Tensor, choice: Choice) -> Tensor:
    """Return SC [R] = 1 − H(q) / log n with n operations other than `none`; 1 for an edge that offers only one.

    Args:
        q: Distributions [R, O].
        choice: The choice.
    """
    sizes = torch.tensor([sum(op != "none" for op in row) for row in choice.options])
    entropy = torch.special.entr(q).sum(dim=1)
    return torch.where(sizes > 1, 1 - entropy / sizes.clamp(min=2).to(entropy.dtype).log(), torch.ones_like(entropy))


def stability(q: Tensor, history: Sequence[Tensor]) -> Tensor:
    """Return SS [R], the mean over earlier distributions q' of Σ_o min(q_o, q'_o); 0 without any.

    Args:
        q: Distributions [R, O].
        history: Distributions q' of earlier epochs, each [R, O].
    """
    if not history:
        return torch.zeros(len(q), dtype=q.dtype)
    return torch.stack([torch.minimum(q, before).sum(dim=1) for before in history]).mean(dim=0)


def scaled(scores: Tensor, rows: Sequence[int]) -> Tensor:
    """Scale scores [R] to 0 … 1 over the given rows; return ones if they do not differ there."""
    low, high = scores[list(rows)].min(), scores[list(rows)].max()
    if high - low < 1e-9:
        return torch.ones_like(scores)
    return (scores - low) / (high - low)


def edge_scores(
    weights: Tensor,
    choice: Choice,
    history: Sequence[Tensor],
    criterion: Criterion,
    rows: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Return the decision score of each edge, larger is earlier, and the distributions over its operations.

    Args:
        weights: Mixing weights [R, O] without any decisions.
        choice: The choice.
        history: Distributions of earlier epochs, for the stability.
        criterion: Criterion 1 is importance × certainty, criterion 2 also × stability.
        rows: Rows over which the scores are scaled.

    Returns:
        Scores [R] and q [R, O].
    """
    importance, q = operations_of(weights, choice)
    scores = scaled(importance, rows) * scaled(certainty(q, choice), rows)
    if criterion == "importance_certainty_stability":
        scores = scores * scaled(stability(q, history), rows)
    return scores, q
