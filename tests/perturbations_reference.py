"""Slow references for the perturbations: row by row in plain Python, and choices that real spaces do not have."""

import torch

from nas_lightning.spaces import Choice

RAGGED = Choice("ragged", "op", (("a", "b", "c", "d"), ("a",), ("a", "b")), (0, 1, 0), (2, 2, 3))
EDGES = Choice("edges", "edge", (("0", "1"), ("0", "1")), (0, 1), (2, 3))
CHOICES = {"ragged": RAGGED, "edges": EDGES}


def mixture(seed=0):
    """Weights on the simplex of each row of CHOICES, float64, 0 where a short row has no option."""
    rng = torch.Generator().manual_seed(seed)
    mixing = {}
    for name, choice in CHOICES.items():
        raw = torch.rand(choice.num_rows, choice.num_options, generator=rng, dtype=torch.float64) * choice.mask
        mixing[name] = raw / raw.sum(dim=1, keepdim=True)
    return mixing


def projected(rows, choice):
    """Clamp to [0, 1]; nothing left: 1 where the raw row was largest; divide by the sum."""
    result = torch.zeros_like(rows)
    for row, options in enumerate(choice.options):
        raw = [float(rows[row, column]) for column in range(len(options))]
        clamped = [min(1.0, max(0.0, value)) for value in raw]
        if sum(clamped) == 0:
            clamped[raw.index(max(raw))] = 1.0
        for column, value in enumerate(clamped):
            result[row, column] = value / sum(clamped)
    return result


def check_simplex(weights, choice):
    """Rows of the options that are there sum to 1, the others are exactly 0."""
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(choice.num_rows, dtype=weights.dtype))
    assert (weights[~choice.mask] == 0).all()
    assert not weights.requires_grad
