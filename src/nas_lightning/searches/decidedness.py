"""How decided the mixing weights are: the margin between the two strongest options of an edge, and the entropy.

An option is allowed where it is still open and a genotype may hold it: where `none` takes part in the search only, it
says nothing about the choice. Rows with fewer than two allowed options (decided, pruned, or without an alternative)
leave nothing to choose and do not count. Over the other rows r, with n_r allowed options and q_r the weights on these,
scaled to sum to 1:

    margin = mean_r (strongest allowed weight − second strongest),   entropy = 100 · mean_r H(q_r) / ln n_r.

SGAS (Li et al., CVPR 2020, section 3.3) calls 1 − H(q_r) / ln n_r the certainty of an edge. Left out: the competition
of edges at a node, and choices of inputs and outputs.
Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def margins(weights: Tensor, allowed: Tensor) -> Tensor:
    """Return the strongest minus the second strongest allowed weight of each row that allows two or more, [≤ R].

    Args:
        weights: Mixing weights [R, O].
        allowed: Boolean [R, O].

    >>> allowed = torch.tensor([[True, True, True], [False, True, False]])
    >>> margins(torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]), allowed)
    tensor([0.2500])
    """
    open_rows = allowed.sum(dim=1) > 1
    if not open_rows.any():
        return weights.new_zeros(0)
    strongest = weights.masked_fill(~allowed, -torch.inf)[open_rows].topk(2, dim=1).values
    return strongest[:, 0] - strongest[:, 1]


def entropies(weights: Tensor, allowed: Tensor) -> Tensor:
    """Return the entropy of each row that allows two or more options, as a share of its maximum, [≤ R].

    Args:
        weights: Mixing weights [R, O], not negative; a row without weight on allowed options counts as uniform.
        allowed: Boolean [R, O].

    >>> allowed = torch.tensor([[True, True, False], [True, True, True]])
    >>> entropies(torch.tensor([[0.25, 0.25, 0.5], [0.5, 0.5, 0.0]]), allowed)
    tensor([1.0000, 0.6309])
    """
    open_rows = allowed.sum(dim=1) > 1
    allowed = allowed[open_rows]
    kept = weights[open_rows] * allowed
    total = kept.sum(dim=1, keepdim=True)
    number = allowed.sum(dim=1, keepdim=True).to(weights.dtype)
    q = torch.where(total > 0, kept / total, allowed / number)
    return torch.special.entr(q).sum(dim=1) / number[:, 0].log()


def decidedness(weights: Mapping[str, Tensor], allowed: Mapping[str, Tensor], simplex: bool = True) -> dict[str, float]:
    """Return how decided all edges of all choices are.

    Args:
        weights: Mixing weights by choice, each [R, O]; choices that `allowed` does not name are left out.
        allowed: Boolean [R, O] by choice.
        simplex: Rows are distributions; False leaves out the entropy, which has no meaning then.

    Returns:
        `open_edges`, the number of rows that count; unless it is 0, `margin` and, in percent, `entropy_percent`.
    """
    tables = [(weights[name].detach().cpu().double(), mask.cpu()) for name, mask in allowed.items()]
    found = torch.cat([margins(*table) for table in tables])
    if not len(found):
        return {"open_edges": 0}
    value = {"open_edges": len(found), "margin": float(found.mean())}
    if simplex:
        value["entropy_percent"] = 100 * float(torch.cat([entropies(*table) for table in tables]).mean())
    return value
