"""The scores of SGAS against plain Python, number by number."""

import math

import pytest
import torch

from cases import build_space, random_mixing
from nas_lightning.selectors.certainty import certainty, edge_scores, operations_of, scaled, stability
from nas_lightning.spaces import CellSpace

CASES = [("darts", "normal"), ("s3", "reduce"), ("s2", "normal"), ("s1", "normal"), ("s1", "reduce")]
"""With `none`, without, and with rows of several lengths."""


def table(name, cell, seed=0):
    space = build_space(name)
    return space.choices[cell], random_mixing(space, seed)[cell]


def plain_q(choice, weights):
    """By row: EI and {operation: q}, without `none`."""
    rows = []
    for options, row in zip(choice.options, weights.tolist(), strict=True):
        real = {op: p for op, p in zip(options, row, strict=False) if op != "none"}
        importance = sum(real.values())
        rows.append((importance, {op: p / importance for op, p in real.items()}))
    return rows


def plain_certainty(q):
    if len(q) == 1:
        return 1.0
    return 1.0 - sum(-p * math.log(p) for p in q.values() if p > 0) / math.log(len(q))


def plain_stability(q, history):
    if not history:
        return 0.0
    return sum(sum(min(p, before[op]) for op, p in q.items()) for before in history) / len(history)


def plain_scaled(values, rows):
    low, high = min(values[row] for row in rows), max(values[row] for row in rows)
    return [1.0 if high - low < 1e-9 else (value - low) / (high - low) for value in values]


def plain_scores(choice, weights, history, rows, third):
    found = plain_q(choice, weights)
    before = [plain_q(choice, old) for old in history]
    scores = plain_scaled([importance for importance, _ in found], rows)
    sure = plain_scaled([plain_certainty(q) for _, q in found], rows)
    stable = plain_scaled([plain_stability(q, [old[r][1] for old in before]) for r, (_, q) in enumerate(found)], rows)
    return [a * b * (c if third else 1.0) for a, b, c in zip(scores, sure, stable, strict=True)]


@pytest.mark.parametrize(("name", "cell"), CASES)
def test_single_scores(name, cell):
    choice, weights = table(name, cell)
    importance, q = operations_of(weights, choice)
    for row, (expected, distribution) in enumerate(plain_q(choice, weights)):
        assert float(importance[row]) == pytest.approx(expected, rel=1e-12)
        for option, op in enumerate(choice.options[row]):
            assert float(q[row, option]) == pytest.approx(distribution.get(op, 0.0), rel=1e-12)
        assert float(certainty(q, choice)[row]) == pytest.approx(plain_certainty(distribution), rel=1e-9)
    assert q[~choice.mask].abs().sum() == 0
    torch.testing.assert_close(q.sum(dim=1), torch.ones(len(q), dtype=torch.float64))


@pytest.mark.parametrize(("name", "cell"), CASES)
@pytest.mark.parametrize("length", [0, 1, 4])
def test_stability(name, cell, length):
    choice, weights = table(name, cell)
    old = [table(name, cell, seed)[1] for seed in range(1, 1 + length)]
    _, q = operations_of(weights, choice)
    found = stability(q, [operations_of(past, choice)[1] for past in old])
    for row, (_, distribution) in enumerate(plain_q(choice, weights)):
        expected = plain_stability(distribution, [plain_q(choice, past)[row][1] for past in old])
        assert float(found[row]) == pytest.approx(expected, rel=1e-12)
    if length:
        assert torch.equal(stability(q, [q]), q.sum(dim=1))


@pytest.mark.parametrize(("name", "cell"), CASES)
@pytest.mark.parametrize("criterion", ["importance_certainty", "importance_certainty_stability"])
@pytest.mark.parametrize("rows", [range(14), [1, 4, 7, 8, 13]])
def test_both_criteria(name, cell, criterion, rows):
    choice, weights = table(name, cell)
    old = [table(name, cell, seed)[1] for seed in (1, 2, 3)]
    history = [operations_of(past, choice)[1] for past in old]
    scores, q = edge_scores(weights, choice, history, criterion, rows)
    expected = plain_scores(choice, weights, old, rows, criterion.endswith("stability"))
    assert scores.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert torch.equal(q, operations_of(weights, choice)[1])
    inside = scores[list(rows)]
    assert inside.min() >= 0
    assert inside.max() <= 1


def test_known_values():
    """Numbers that can be checked by hand: a certain edge, an even one, and one that is mostly nothing."""
    choice = build_space("s3").choices["normal"]  # none, skip_connect, sep_conv_3x3
    weights = torch.zeros(14, 3)
    weights[:] = torch.tensor([0.5, 0.25, 0.25])
    weights[3] = torch.tensor([0.0, 1.0, 0.0])
    weights[4] = torch.tensor([0.2, 0.2, 0.6])
    importance, q = operations_of(weights, choice)
    assert importance[2:5].tolist() == pytest.approx([0.5, 1.0, 0.8])
    assert q[4].tolist() == pytest.approx([0.0, 0.25, 0.75])
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    assert certainty(q, choice)[2:5].tolist() == pytest.approx([0.0, 1.0, 1 - entropy])
    scores, _ = edge_scores(weights, choice, [], "importance_certainty", range(14))
    assert scores[[0, 3]].tolist() == [0.0, 1.0]
    assert float(scores[4]) == pytest.approx(0.6 * (1 - entropy))


def test_scaling():
    scores = torch.tensor([1.0, 5.0, 3.0, 9.0], dtype=torch.float64)
    assert scaled(scores, range(4)).tolist() == [0.0, 0.5, 0.25, 1.0]
    assert scaled(scores, [0, 1]).tolist() == [0.0, 1.0, 0.5, 2.0]  # what is not asked for may lie outside
    assert scaled(torch.full((3,), 0.1 + 0.2), range(3)).tolist() == [1.0] * 3
    nearly = torch.tensor([0.3, 0.1 + 0.2], dtype=torch.float64)
    assert scaled(nearly, range(2)).tolist() == [1.0, 1.0]  # rounding is no difference


def test_without_none_importance_does_not_count():
    """Every edge is equally important: the certainty alone decides, not the first index."""
    choice, weights = table("s2", "normal")
    importance, q = operations_of(weights.float(), choice)  # in float32 the sums are off by rounding
    assert torch.equal(importance, torch.ones(14, dtype=torch.float64))
    scores, _ = edge_scores(weights.float(), choice, [], "importance_certainty", range(14))
    assert torch.equal(scores, scaled(certainty(q, choice), range(14)))
    assert int(scores.argmax()) == int(certainty(q, choice).argmax()) != 0


def test_a_score_without_differences_is_left_out():
    choice, weights = table("darts", "normal")
    first, _ = edge_scores(weights, choice, [], "importance_certainty", range(14))
    second, _ = edge_scores(weights, choice, [], "importance_certainty_stability", range(14))
    assert torch.equal(first, second)  # there is no history yet
    even = torch.full((14, 8), 1 / 8)
    assert edge_scores(even, choice, [], "importance_certainty", range(14))[0].tolist() == [1.0] * 14


def test_an_edge_with_nothing_to_choose_is_certain():
    choice, _ = table("s1", "normal")
    assert min(map(len, choice.options)) == 2
    _, q = operations_of(torch.tensor([[0.5, 0.5]] * 14), choice)
    assert certainty(q, choice).tolist() == pytest.approx([0.0] * 14)
    lists = [["none", "skip_connect"], ["none"], ["skip_connect"], ["none", "skip_connect", "sep_conv_3x3"], ["none"]]
    ragged = CellSpace("ragged", {"normal": lists, "reduce": lists[:1] + lists[2:3] * 4}, num_nodes=2).choices["normal"]
    weights = torch.tensor([[0.5, 0.5, 0.0], [1, 0, 0], [1, 0, 0], [0.2, 0.4, 0.4], [1, 0, 0]])
    importance, q = operations_of(weights, ragged)
    assert importance.tolist() == pytest.approx([0.5, 0.0, 1.0, 0.8, 0.0])
    assert torch.isfinite(q).all()
    assert certainty(q, ragged).tolist() == pytest.approx([1.0, 1.0, 1.0, 0.0, 1.0])
