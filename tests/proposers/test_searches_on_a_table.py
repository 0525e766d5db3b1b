"""Whole searches on the accuracies of NAS-Bench-201: facts of the table, exact expectations, published behaviour.

Feedback is the validation accuracy after 12 epochs, what counts is the test accuracy after 200. Means and standard
deviations of 200 seeds, and of ten for the ranking, were computed by another program, which had no code in common with
this one.
"""

from itertools import islice

import numpy as np
import pytest

from cases import build_space
from nas_lightning.core.proposer import Judged
from nas_lightning.evaluation.chance import expected_accuracy
from nas_lightning.proposers import Bananas, Evolution, LocalSearch, Random, Ranking
from nas_lightning.proposers.nosh import Pyramid
from nas_lightning.spaces import NasBench201Space
from nas_lightning.spaces.enumeration import architectures
from table_space import SETS, accuracies, by_index, neighbour_table, outcome, searched

VALID, TEST = accuracies("cifar10_valid_12"), accuracies("cifar10_test_200")
MEANS = {
    ("cifar10", 50): {Random: (93.43, 0.57), Evolution: (93.79, 0.59), LocalSearch: (94.00, 0.43)},
    ("cifar10", 100): {Random: (93.71, 0.38), Evolution: (94.09, 0.34), LocalSearch: (94.23, 0.24)},
    ("cifar10", 300): {Random: (93.91, 0.23), Evolution: (94.22, 0.27)},
    ("cifar100", 50): {Random: (70.44, 1.29), Evolution: (71.66, 1.37), LocalSearch: (71.81, 1.35)},
    ("cifar100", 100): {Random: (71.15, 1.08), Evolution: (72.24, 1.00), LocalSearch: (72.46, 0.80)},
    ("cifar100", 300): {Random: (71.80, 0.84), Evolution: (72.41, 0.91)},
    ("in16_120", 50): {Random: (44.11, 1.58), Evolution: (45.07, 1.51), LocalSearch: (45.63, 0.99)},
    ("in16_120", 100): {Random: (44.98, 1.10), Evolution: (45.73, 0.97), LocalSearch: (45.95, 0.64)},
    ("in16_120", 300): {Random: (45.54, 0.91), Evolution: (46.20, 0.54)},
}
KINDS = (Random, Evolution, LocalSearch)
ARGUMENTS = {Random: {"none": True}}


def maxima(scores):
    return (scores >= scores[neighbour_table()].max(1)).nonzero()[0]


def test_local_maxima_and_the_best_of_each_set():
    counts = {name: [len(maxima(accuracies(f"{name}_{part}"))) for part in ("valid_12", "test_200")] for name in SETS}
    assert counts == {"cifar10": [21, 18], "cifar100": [35, 25], "in16_120": [25, 37]}


def ascended(scores):
    """The end of steepest ascent from every cell."""
    here = np.arange(len(scores))
    while True:
        around = neighbour_table()[here]
        best = around[np.arange(len(here)), scores[around].argmax(1)]
        following = np.where(scores[best] > scores[here], best, here)
        if (following == here).all():
            return here
        here = following


def test_steepest_ascent_from_every_cell():
    """Shares of the starts that end at the best cell; of isomorphic twins only the first counts."""
    shares = [
        [
            float(np.mean(ascended(s) == s.argmax()) * 100)
            for s in (accuracies(f"{n}_valid_12"), accuracies(f"{n}_test_200"))
        ]
        for n in SETS
    ]
    assert np.round(shares, 1).tolist() == [[49.1, 19.2], [28.7, 74.9], [32.4, 19.2]]


def test_the_neighbours_of_the_table_are_those_of_the_space():
    space = NasBench201Space()
    for number in (0, 5, 999, 15_624):
        found = {one.identity for one in space.neighbours(by_index().all[number])}
        assert found == {by_index().all[other].identity for other in neighbour_table()[number]}
    assert [one.identity for one in islice(architectures(space), 50)] == [one.identity for one in by_index().all[:50]]


def check_means(kind, name, queries, seeds=200):
    """Means after several numbers of queries: asked one by one, a long search begins with the shorter ones."""
    valid, test = (accuracies(f"{name}_{part}") for part in ("valid_12", "test_200"))
    proposer = kind(**ARGUMENTS.get(kind, {}))
    found = [searched(proposer, by_index(), valid, max(queries), seed) for seed in range(seeds)]
    for number in queries:
        expected, deviation = MEANS[name, number][kind]
        mean = np.mean([outcome(history[:number], test) for history in found])
        # three standard errors of the difference to a mean of 200 seeds that is rounded to 0.01
        assert mean == pytest.approx(expected, abs=3 * deviation * (1 / seeds + 1 / 200) ** 0.5 + 0.005), number


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_means_of_few_seeds(kind, name):
    check_means(kind, name, (50, 100), seeds=12)


@pytest.mark.parametrize("kind", [Random, Evolution, pytest.param(LocalSearch, marks=pytest.mark.slow)])
def test_means_of_200_seeds(kind):
    check_means(kind, "cifar10", (50, 100))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_means_of_200_seeds_on_all_sets(kind, name):
    check_means(kind, name, [queries for (which, queries), kinds in MEANS.items() if which == name and kind in kinds])


@pytest.mark.slow
def test_means_of_a_ranking():
    """A pool of 100 in the rounds of `rank_nosh`, one level. Ten seeds here and there."""
    found = [searched_in_rounds(Ranking(), Pyramid((12,)).rounds, seed) for seed in range(10)]
    assert np.mean(found) == pytest.approx(94.20, abs=3 * 0.27 * (2 / 10) ** 0.5)


def searched_in_rounds(proposer, rounds, seed):
    space, history = by_index(), []
    for joining in rounds:
        asked = proposer.ask(space, history, joining, seed)
        history += [
            Judged(one, 0, float(VALID[space.index[one.identity]]), place)
            for place, one in enumerate(asked, start=len(history))
        ]
    assert len(history) == 100
    return outcome(history, TEST)


def test_random_search_has_its_exact_expectation():
    """Without replacement, closed form; 100 searches of 50 draws."""
    expected = expected_accuracy(TEST, VALID, 50)
    assert expected == pytest.approx(93.467, abs=0.003)  # with replacement
    found = [outcome(searched(Random(none=True), by_index(), VALID, 50, seed, k=50), TEST) for seed in range(100)]
    assert np.mean(found) == pytest.approx(expected, abs=3.5 * np.std(found) / 10)


def test_local_search_ends_at_local_maxima():
    """From a single start: as soon as it proposes what is no neighbour of the best, the best is a local maximum."""
    space, tops, ends = by_index(), set(maxima(VALID).tolist()), []
    for seed in range(6):
        proposer, history = LocalSearch(initial=1), []
        while True:
            (one,) = proposer.ask(space, history, 1, seed)
            number = space.index[one.identity]
            best = max(history, key=lambda judged: judged.merit, default=None)
            if best is not None and number not in space.near[space.index[best.genotype.identity]]:
                break
            history.append(Judged(one, 0, float(VALID[number]), len(history)))
        ends.append(space.index[best.genotype.identity])
        assert {one.identity for one in space.neighbours(best.genotype)} <= {j.genotype.identity for j in history}
    assert set(ends) <= tops
    assert len(set(ends)) > 1


def test_full_local_search_is_steepest_ascent():
    """Asked one by one, it looks at all unknown neighbours of a cell, then at those of the best of them."""
    space = by_index()
    ends = ascended(VALID)
    for seed in range(3):
        history = searched(LocalSearch(initial=1, full=True), space, VALID, 24 * 12, seed)
        looked = [space.index[judged.genotype.identity] for judged in history]
        here, known, steps = looked[0], {looked[0]}, 0
        while True:
            unknown = set(space.near[here]) - known
            assert set(looked[len(known) : len(known) + len(unknown)]) == unknown
            known |= unknown
            following = max(space.near[here], key=lambda cell: VALID[cell])
            if VALID[following] <= VALID[here]:
                break
            here, steps = following, steps + 1
        assert here == ends[looked[0]]
        assert steps > 1


EVERY = {
    "random": Random(),
    "evolution": Evolution(initial=4, population=6, tournament=3),
    "local_search": LocalSearch(initial=3),
    "bananas": Bananas(initial=4, epochs=3),
    "ranking": Ranking(initial=4, epochs=2),
    "gin": Ranking(initial=4, epochs=1, predictor="gin"),
}


@pytest.mark.parametrize(
    ("name", "k", "start"),
    [*((name, 7, 63) for name in EVERY), ("evolution", 1, 70), ("local_search", 1, 70), ("local_search", 7, 0)],
)
def test_every_proposer_tries_all_of_a_small_space_once(name, k, start):
    """S5 with a score a genotype and levels that differ; what was proposed follows from the history alone."""
    proposer, space = EVERY[name], build_space("s5")
    history = [
        Judged(one, index % 2, float(sum(map(ord, one.identity)) % 97), index)
        for index, one in enumerate(Random().ask(space, [], start, 5))
    ]
    while found := proposer.ask(space, history, k, 5):
        if len(history) == start:
            again = type(proposer)(**{key: value for key, value in vars(proposer).items() if key[0] != "_"})
            assert again.ask(space, history, k, 5) == found
        history += [
            Judged(one, index % 2, float(sum(map(ord, one.identity)) % 97), index)
            for index, one in enumerate(found, start=len(history))
        ]
        assert len(found) == k or len(history) == 81
    assert len(history) == 81
    assert len({judged.genotype.identity for judged in history}) == 81
