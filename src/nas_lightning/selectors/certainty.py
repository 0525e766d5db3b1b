"""How sure a search is of an edge: the scores of SGAS.

Source: Li et al., SGAS (CVPR 2020), section 3.3, and its released code. Each score is scaled to [0, 1] over the rows of
a choice. Where a score is the same for all rows it is left out; the released code has zeros then, so that in a space
without `none`, where every edge is equally important, it would take the first edge.
Shapes: R rows and O options of a choice.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from nas_lightning.core.choices import Choice

Criterion = Literal["importance_certainty", "importance_certainty_stability"]


def operations_of(weights: Tensor, choice: Choice) -> tuple[Tensor, Tensor]:
    """Importance of each edge, and the distribution over its operations without `none`.

    Args:
        weights: Mixing weights [R, O] of undecided rows; rows sum to 1.
        choice: The choice.

    Returns:
        EI [R], the weight that is not on `none`, and q [R, O], 0 on `none`.
    """
    real = torch.tensor(
        [[op != "none" for op in row] + [False] * (choice.num_options - len(row)) for row in choice.options]
    )
    weights = weights.detach().cpu().double()
    importance = (weights * real).sum(dim=1)
    offers_none = torch.tensor(["none" in row for row in choice.options])
    importance = torch.where(offers_none, importance, torch.ones_like(importance))  # exactly, not up to rounding
    return importance, weights * real / importance.clamp(min=1e-30)[:, None]


def certainty(q: Tensor, choice: Choice) -> Tensor:
    """SC = 1 − H(q) / log n, with n operations other than `none`; 1 for an edge that offers one.

    Args:
        q: Distributions [R, O].
        choice: The choice.
    """
    sizes = torch.tensor([sum(op != "none" for op in row) for row in choice.options])
    entropy = torch.special.entr(q).sum(dim=1)
    return torch.where(sizes > 1, 1 - entropy / sizes.clamp(min=2).to(entropy.dtype).log(), torch.ones_like(entropy))


def stability(q: Tensor, history: Sequence[Tensor]) -> Tensor:
    """SS = mean over the last distributions of Σ_o min(q_o, q'_o); 0 where there is none yet.

    Args:
        q: Distributions [R, O].
        history: Earlier ones, each [R, O].
    """
    if not history:
        return torch.zeros(len(q), dtype=q.dtype)
    return torch.stack([torch.minimum(q, before).sum(dim=1) for before in history]).mean(dim=0)


def scaled(scores: Tensor, rows: Sequence[int]) -> Tensor:
    """Scores [R] scaled so that they are 0 … 1 over the given rows; ones where they do not differ."""
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
    """How ready each edge is to be decided, and the distributions over its operations.

    Args:
        weights: Mixing weights [R, O] as if nothing were decided.
        choice: The choice.
        history: Distributions of earlier epochs, for the stability.
        criterion: Criterion 1 is importance × certainty, criterion 2 also × stability.
        rows: Rows over which scores are scaled.

    Returns:
        Scores [R] and q [R, O].
    """
    importance, q = operations_of(weights, choice)
    scores = scaled(importance, rows) * scaled(certainty(q, choice), rows)
    if criterion == "importance_certainty_stability":
        scores = scores * scaled(stability(q, history), rows)
    return scores, q
