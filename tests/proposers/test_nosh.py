"""The pool of RANK-NOSH: published budgets, and a whole search followed member by member."""

import pytest
import torch

from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proposer import Judged
from nas_lightning.proposers.nosh import Pyramid, promoted, promotions

LEVELS = (1, 2, 3, 12)


@pytest.mark.parametrize(
    ("levels", "ratio", "epochs"),
    [
        (LEVELS, 0.5, 292),
        ((10, 50, 100, 200), 0.5, 5550),
        ((20, 30, 100, 200), 0.5, 5550),
        ((1, 2, 20, 50), 0.5, 990),
        ((1, 5, 15, 50), 0.5, 1005),
        ((12, 200), 0.5, 10_600),
        ((12, 200), 0.25, 5900),
        ((3, 12, 200), 0.5, 5450),
        ((12,), 0.5, 1200),
    ],
)
def test_budgets(levels, ratio, epochs):
    assert Pyramid(levels, ratio).epochs == epochs


def test_counts_carry_down():
    assert Pyramid(LEVELS).arrivals(8) == [8, 4, 2, 1]
    assert Pyramid(LEVELS).arrivals(1) == [1, 1, 1, 1]
    assert Pyramid(LEVELS).reached == [100, 50, 25, 13]
    assert Pyramid(LEVELS, pool=10).rounds == [10]
    assert [promotions(100, ratio) for ratio in (0.29, 0.07, 1.0, 1e-9)] == [29, 7, 100, 1]


def followed(pyramid, values):
    """Every round by hand: levels of all members, and the epochs trained, added up training by training."""
    level, spent = [], 0
    for joining in pyramid.rounds:
        level += [0] * joining
        spent += joining * pyramid.levels[0]
        for step, number in enumerate(pyramid.arrivals(joining)[1:]):
            pool = [Judged(Genotype("x"), at, values[at][i], i) for i, at in enumerate(level)]
            chosen = promoted(pool, step, number)
            assert len(chosen) == number
            left = [one.score for one in pool if one.level == step and one not in chosen]
            assert not left or min(one.score for one in chosen) >= max(left)
            for one in chosen:
                level[one.index] += 1
                spent += pyramid.levels[step + 1] - pyramid.levels[step]
        yield list(level), spent


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.7])
def test_nobody_leaves_nobody_falls_and_the_budget_is_what_was_trained(ratio):
    pyramid = Pyramid(LEVELS, ratio)
    values = torch.rand(len(LEVELS), pyramid.pool, generator=torch.Generator().manual_seed(0)).tolist()
    before = []
    for level, spent in followed(pyramid, values):
        assert all(now >= then for now, then in zip(level, before, strict=False))
        assert spent == sum(LEVELS[at] for at in level)
        reached = [sum(at >= one for at in level) for one in range(len(LEVELS))]
        assert reached == sorted(reached, reverse=True)
        before = level
    assert len(before) == 100
    assert spent == pyramid.epochs
    assert reached == pyramid.reached


def test_earlier_losers_compete_again_and_ties_go_to_the_first():
    scores = [3.0, 9.0, 5.0, 5.0, 1.0]
    pool = [Judged(Genotype("x"), int(i == 1), score, i) for i, score in enumerate(scores)]
    assert [one.index for one in promoted(pool, 0, 2)] == [2, 3]
    assert [one.index for one in promoted(pool, 0, 9)] == [2, 3, 0, 4]
    assert [one.index for one in promoted(pool, 1, 9)] == [1]


def test_a_member_without_a_number_goes_on_last():
    pool = [Judged(Genotype("x"), 0, score, i) for i, score in enumerate([float("nan"), 1.0, -9.0])]
    assert [one.index for one in promoted(pool, 0, 3)] == [1, 2, 0]


def test_a_tiny_ratio_promotes_one_a_round():
    pyramid = Pyramid(LEVELS, 1e-9)
    assert pyramid.reached == [100, *[len(pyramid.rounds)] * 3]
