"""Pairs and their loss: by brute force, antisymmetry, logistic regression on data that can be separated."""

from itertools import product
from math import exp, log

import pytest
import torch

from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proposer import Judged
from nas_lightning.proposers.pairs import ordered_pairs, ranking_loss


def judged(*entries):
    return [Judged(Genotype("x"), level, score, i) for i, (level, score) in enumerate(entries)]


HISTORY = judged(
    (0, 90.0), (1, 10.0), (0, 90.05), (0, 95.0), (1, 10.0), (2, -5.0), (0, float("-inf")), (1, float("nan"))
)


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_pairs_by_brute_force(margin):
    expected = []
    for a, b in product(HISTORY, HISTORY):
        if b.index > 5 or a.index > 5:  # those that have failed
            expected += [[a.index, b.index]] if a.index <= 5 else []
            continue
        same = a.level == b.level and a.score > b.score and a.score - b.score >= margin
        if a.level > b.level or same:
            expected.append([a.index, b.index])
    assert ordered_pairs(HISTORY, margin).T.tolist() == expected
    assert ([2, 0] in expected) == (margin == 0)


def test_a_loss_by_hand():
    scores = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    pairs = torch.tensor([[0, 2], [1, 0]])
    by_hand = (log(1 + exp(-(0.3 + 1.2))) + log(1 + exp(-(2.0 - 0.3)))) / 2
    assert ranking_loss(scores, pairs).item() == pytest.approx(by_hand, rel=1e-12)
    assert ranking_loss(scores + 17, pairs).item() == pytest.approx(by_hand, rel=1e-12)
    probability = torch.sigmoid(scores[pairs[0]] - scores[pairs[1]])
    entropy = torch.nn.functional.binary_cross_entropy(probability, torch.ones(2, dtype=torch.float64))
    assert ranking_loss(scores, pairs).item() == pytest.approx(entropy.item(), rel=1e-12)


def test_swapped_pairs_have_the_opposite_gradient_at_equal_scores():
    pairs = ordered_pairs(HISTORY)
    gradients = []
    for these in (pairs, pairs.flip(0)):
        scores = torch.zeros(len(HISTORY), dtype=torch.float64, requires_grad=True)
        loss = ranking_loss(scores, these)
        assert loss.item() == pytest.approx(log(2), rel=1e-12)
        loss.backward()
        gradients.append(scores.grad)
    assert torch.equal(gradients[0], -gradients[1])
    assert gradients[0].abs().max() > 0


def test_linear_scores_on_separable_data_reach_a_loss_of_zero_and_the_order():
    """With linear scores it is logistic regression on differences: scaling up a separating direction takes it to 0."""
    inputs = torch.randint(-3, 4, (12, 5), generator=torch.Generator().manual_seed(0)).double()
    truth = inputs @ torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0], dtype=torch.float64)
    pairs = ordered_pairs(judged(*((0, score) for score in truth.tolist())))
    weights = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], 0.5)
    for _ in range(1500):
        optimizer.zero_grad()
        ranking_loss(inputs @ weights, pairs).backward()
        optimizer.step()
    scores = (inputs @ weights).detach()
    assert (scores[pairs[0]] > scores[pairs[1]]).all()  # Kendall's τ is 1
    losses = [ranking_loss(scale * scores, pairs).item() for scale in (1, 10, 100, 1000)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < 0.05
    assert losses[-1] < 1e-6
