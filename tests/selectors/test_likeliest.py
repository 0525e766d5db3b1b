"""The likeliest paths against the enumeration of whole small spaces."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from cases import build_space, seeded
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.one_shot import OneShot
from nas_lightning.relaxations import Softmax
from nas_lightning.selectors import Likeliest
from nas_lightning.selectors.likeliest import best_sums, likeliest_paths
from nas_lightning.spaces import CellSpace, Choice

BENCH = Choice(
    "cell",
    "op",
    (("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),) * 6,
    (0, 0, 1, 0, 1, 2),
    (1, 2, 2, 3, 3, 3),
    none_selectable=True,
)


class Table:
    """As much of a space as is needed for a table of choices; a path's genotype is its edges."""

    name = "table"

    def __init__(self, *choices):
        self.choices = {choice.name: choice for choice in choices}

    def genotype_of(self, path):
        return taken(self, path)


def taken(space, path):
    return tuple(
        (name, row, int(weights.argmax()))
        for name, choice in space.choices.items()
        for row, weights in enumerate(path[name])
        if choice.kind == "op" and weights.any()
    )


def random_strengths(space, seed=0):
    rng = seeded(seed)
    strengths = {}
    for name, choice in space.choices.items():
        logits = 1.5 * torch.randn(choice.mask.shape, generator=rng, dtype=torch.float64)
        strengths[name] = torch.softmax(logits.masked_fill(~choice.mask, -torch.inf), dim=1)
    return strengths


def log_probability(strengths, edges):
    return math.fsum(math.log(strengths[name][row, option]) for name, row, option in edges)


def everything(space):
    """Every architecture by brute force: of each node each set of `keep` rows, of each row each option."""
    parts = []
    for name, choice in space.choices.items():
        if choice.kind != "op":
            continue
        for node in sorted(set(choice.nodes)):
            rows = [row for row in range(choice.num_rows) if choice.nodes[row] == node]
            options = {
                row: [o for o, op in enumerate(choice.options[row]) if op != "none" or choice.none_selectable]
                for row in rows
            }
            parts.append(
                [
                    tuple((name, row, o) for row, o in zip(subset, picked, strict=True))
                    for subset in itertools.combinations(rows, choice.keep or len(rows))
                    for picked in itertools.product(*(options[row] for row in subset))
                ]
            )
    for combination in itertools.product(*parts):
        yield tuple(edge for part in combination for edge in part)


def assert_likeliest(space, strengths, count):
    ranked = sorted(everything(space), key=lambda edges: -log_probability(strengths, edges))
    found = [taken(space, path) for path in likeliest_paths(space, strengths, count)]
    assert found == ranked[:count]
    return len(ranked)


# ------------------------------------------------------------------------------------------------ the enumeration
def test_all_of_nas_bench_201():
    for seed in range(2):
        assert assert_likeliest(Table(BENCH), random_strengths(Table(BENCH), seed), 100) == 15_625


def test_nodes_that_keep_two():
    ops = ["none", "skip_connect", "sep_conv_3x3"]
    choice = CellSpace("small", ops, num_nodes=2).choices["normal"]
    two = Table(choice, replace(choice, name="reduce"))
    assert assert_likeliest(two, random_strengths(two), 300) == (4 * 3 * 4) ** 2
    three = Table(CellSpace("small", ops, num_nodes=3).choices["normal"])
    assert assert_likeliest(three, random_strengths(three, 1), 1000) == 4 * 12 * 24


def test_ragged_rows_and_choices_of_another_kind():
    edges = Choice("cell_edge", "edge", (("0", "1", "2"),), (0,), (3,))
    ragged = Table(
        Choice("cell", "op", (("a", "b", "none"), ("a",), ("none", "b", "c", "d")), (0, 1, 2), (3, 3, 3), keep=2), edges
    )
    strengths = random_strengths(ragged)
    assert assert_likeliest(ragged, strengths, 20) == 2 + 2 * 3 + 3
    for path in likeliest_paths(ragged, strengths, 20):
        assert path["cell"].sum() == 2
        torch.testing.assert_close(path["cell_edge"], strengths["cell_edge"], check_dtype=False)


def test_rows_that_take_several_inputs():
    inputs = Choice("inputs", "input", (("input", "a"), ("input", "a", "b", "c")), (0, 0), (2, 4), take=(1, 2))
    space = Table(replace(BENCH, options=(("x", "y"), ("x", "y", "z")), sources=(0, 0), nodes=(1, 2)), inputs)
    strengths = random_strengths(space)
    every = [
        (("cell", 0, a), ("cell", 1, b), ("inputs", 0, c), *(("inputs", 1, o) for o in subset))
        for a, b, c in itertools.product(range(2), range(3), range(2))
        for subset in itertools.combinations(range(4), 2)
    ]
    ranked = sorted(every, key=lambda options: -log_probability(strengths, options))
    paths = likeliest_paths(space, strengths, 1000)
    found = [
        tuple((name, int(row), int(o)) for name in space.choices for row, o in path[name].nonzero()) for path in paths
    ]
    assert found == ranked
    assert len(found) == 2 * 3 * 2 * 6


def test_fewer_than_asked_for():
    space = Table(replace(BENCH, options=(("none", "skip_connect"),) * 6))
    found = [taken(space, path) for path in likeliest_paths(space, random_strengths(space), 1000)]
    assert len(found) == len(set(found)) == 64


def test_of_equals_the_first():
    space = Table(BENCH)
    paths = likeliest_paths(space, {"cell": torch.full((6, 5), 0.2)}, 30)
    options = [tuple(option for _, _, option in taken(space, path)) for path in paths]
    assert options == list(itertools.islice(itertools.product(range(5), repeat=6), 30))


def test_a_space_far_too_large_to_list():
    """The best is the best of each row; the next differ in what costs least."""
    space = build_space("darts")
    strengths = random_strengths(space)
    paths = likeliest_paths(space, strengths, 500)
    words = [taken(space, path) for path in paths]
    assert len(set(words)) == 500
    totals = [log_probability(strengths, word) for word in words]
    assert totals == sorted(totals, reverse=True)
    assert len(paths[0]["normal"].nonzero()) == 8
    scores = {name: value.clone() for name, value in strengths.items()}
    genotype = space.genotype(scores)
    found = space.genotype_of(paths[0])
    assert all(sorted(found.cells[cell]) == sorted(genotype.cells[cell]) for cell in found.cells)


def test_sums():
    numbers = [
        sorted(torch.randn(n, generator=seeded(n), dtype=torch.float64).tolist(), reverse=True) for n in (4, 1, 7, 3)
    ]
    numbers[2].append(-math.inf)
    found = list(best_sums(numbers))
    every = [
        (math.fsum(n[i] for n, i in zip(numbers, places, strict=True)), places)
        for places in itertools.product(*(range(len(n)) for n in numbers))
    ]
    assert sorted(found) == sorted(every)
    assert [total for total, _ in found] == sorted((total for total, _ in every), reverse=True)
    assert list(best_sums([[1.0], []])) == []
    first = next(best_sums([[0.0, -1.0]] * 300))  # lazy: 2^300 sums
    assert first == (0.0, (0,) * 300)


# ------------------------------------------------------------------------------------------------------ selecting
class Shot:
    """A fake supernet whose metric is a function of the path; every call is noted."""

    def __init__(self, space, values=None, decisions=None):
        self.space, self.values, self.calls, self.titles = space, values or {}, [], []
        arch = {
            name: torch.randn(c.num_rows, c.num_options, generator=seeded(4), dtype=torch.float64)
            for name, c in space.choices.items()
        }
        relaxation = Softmax()
        relaxation.init(space.choices)
        self.one_shot = OneShot(space, relaxation, arch, 0, self.accuracy, decisions=decisions, track=self.track)
        self.ranked = [taken(space, path) for path in likeliest_paths(space, self.one_shot.strengths(), 200)]

    def accuracy(self, mixing, active=None, batches=None, batch_norm="eval"):
        assert all(torch.equal(active[name], mixing[name] > 0) for name in self.space.choices)
        word = taken(self.space, mixing)
        self.calls.append((word, batches))
        return self.values.get(word, 0.0)

    def track(self, items, title):
        self.titles.append((title, len(items)))
        return items


def test_the_best_of_the_likeliest_wins():
    plain = Shot(Table(BENCH))
    values = {plain.ranked[7]: 80.0, plain.ranked[3]: 80.0, plain.ranked[0]: 79.0, plain.ranked[40]: 99.0}
    shot = Shot(Table(BENCH), values)
    assert Likeliest(candidates=40, batches=2).select(shot.one_shot) == shot.ranked[3]  # of equals the likelier
    assert [word for word, _ in shot.calls] == shot.ranked[:40]
    assert [batches for _, batches in shot.calls] == [range(2 * i, 2 * i + 2) for i in range(40)]
    assert shot.titles == [("likeliest architectures", 40)]
    assert Likeliest(candidates=41).select(shot.one_shot) == shot.ranked[40]


@pytest.mark.parametrize("batches", [3, None])
def test_the_same_batches_for_all(batches):
    shot = Shot(Table(BENCH))
    found = Likeliest(candidates=5, batches=batches, fresh_batches=False).select(shot.one_shot)
    assert found == shot.ranked[0]
    assert [given for _, given in shot.calls] == [batches] * 5


def test_the_strengths_alone_tell_the_likeliest():
    shot = Shot(Table(BENCH))
    assert Likeliest()(shot.space, shot.one_shot.strengths()) == shot.ranked[0]
    space = build_space("s3")
    genotype = Likeliest()(space, Shot(space).one_shot.strengths())
    space.validate(genotype)
    assert "none" not in repr(genotype.cells)


def test_what_is_decided_is_in_every_candidate():
    space = build_space("s2")
    decisions = Decisions(space.choices)
    decisions.decide("normal", 9, 0)
    decisions.decide("normal", 12, 1)
    for row in (10, 11, 13):
        decisions.prune("normal", row)
    shot = Shot(space, decisions=decisions)
    Likeliest(candidates=20).select(shot.one_shot)
    for word, _ in shot.calls:
        assert [edge for edge in word if edge[0] == "normal" and edge[1] >= 9] == [("normal", 9, 0), ("normal", 12, 1)]
    counts = Counter(len(word) for word, _ in shot.calls)
    assert counts == {16: 20}


def test_mistakes():
    with pytest.raises(ConfigError, match=r"^selector\.fresh_batches=true: .*use selector\.fresh_batches=false$"):
        Likeliest(batches=None)
    strengths = {"cell": torch.full((6, 5), 0.2)}
    strengths["cell"][3, 3] = torch.nan
    with pytest.raises(GenotypeError, match=r"^the strengths of 'cell' are not numbers: the search diverged"):
        Likeliest()(Table(BENCH), strengths)
