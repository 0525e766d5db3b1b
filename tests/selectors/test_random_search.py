"""Random search against a plain loop, with an accuracy that is a known function of the path."""

import hashlib
from dataclasses import replace

import pytest
import torch

from cases import build_space, images, seeded, tiny_supernet
from nas_lightning.core import draws
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import evaluating
from nas_lightning.core.one_shot import OneShot
from nas_lightning.relaxations import Softmax, Uniform
from nas_lightning.selectors import Magnitude, RandomSearch


def spelled(genotype):
    return repr(sorted(genotype.cells.items()))


def scattered(word, levels):
    """A number in [0, 1) that looks random, in steps of 1 / levels."""
    return int(hashlib.sha256(word.encode()).hexdigest(), 16) % levels / levels


class Shot:
    """A fake supernet: the metric is a hash of the path, another one on all of `val`; every call is noted."""

    def __init__(self, name="s3", seed=0, levels=10**9):
        self.space, self.levels = build_space(name), levels
        self.calls, self.titles = [], []
        arch = Uniform().init(self.space.choices)
        self.one_shot = OneShot(self.space, Softmax(), arch, seed, self.accuracy, track=self.track)

    def value(self, word, batches):
        return scattered(f"{word} {batches is None}", self.levels)

    def accuracy(self, mixing, active=None, batches=None, batch_norm="eval"):
        assert batch_norm == "eval"
        assert all(torch.equal(active[name], mixing[name] == 1) for name in mixing)
        assert all(active[name].any() and not active[name].all() for name in mixing)
        word = spelled(self.space.genotype_of(mixing))
        self.calls.append((word, batches))
        return self.value(word, batches)

    def track(self, items, title):
        self.titles.append((title, len(items)))
        return items

    def few(self, batches=10):
        return [word for word, given in self.calls if given == batches]

    def full(self):
        return [word for word, given in self.calls if given is None]

    def drawn(self, number, candidates, none=True):
        """The genotypes of a round, in words, in the order in which they are drawn."""
        paths = [
            self.space.sample(draws.seeded_generator(self.one_shot.seed, "random search", number, i), none)
            for i in range(candidates)
        ]
        return [spelled(self.space.genotype_of(path)) for path in paths]

    def winner(self, number, candidates, finalists):
        """(metric on all of val, path) of a round, by selection one after the other."""
        left = list(dict.fromkeys(self.drawn(number, candidates)))
        best = []
        while left and len(best) < finalists:
            word = next(w for w in left if self.value(w, 10) == max(self.value(v, 10) for v in left))
            best.append(word)
            left.remove(word)
        top = max(self.value(word, None) for word in best)
        return top, next(word for word in best if self.value(word, None) == top)


@pytest.mark.parametrize("name", ["s1", "s3"])
@pytest.mark.parametrize("levels", [10**9, 3])  # three values only: ties everywhere
def test_against_a_loop(name, levels):
    for seed in range(5):
        shot = Shot(name, seed, levels)
        found = RandomSearch(candidates=40, finalists=6).select(shot.one_shot)
        shot.space.validate(found)
        assert spelled(found) == shot.winner(0, 40, 6)[1]
        assert shot.few() == shot.drawn(0, 40)
        assert len(shot.full()) == 6
        assert len(shot.calls) == 46


def test_all_candidates_see_the_same_batches():
    shot = Shot()
    RandomSearch(candidates=5, finalists=5, batches=3).select(shot.one_shot)
    assert [batches for _, batches in shot.calls] == [3] * 5 + [None] * 5


def test_of_equals_the_first_drawn():
    shot = Shot(levels=1)
    found = RandomSearch(candidates=12, finalists=4, rounds=2).select(shot.one_shot)
    assert spelled(found) == shot.drawn(0, 12)[0]
    assert shot.full() == shot.drawn(0, 12)[:4] + shot.drawn(1, 12)[:4]


def test_the_best_over_rounds_or_the_first():
    later = 0
    for seed in range(8):
        shot = Shot(seed=seed)
        winners = [shot.winner(number, 20, 3) for number in range(3)]
        later += winners[0] != max(winners)
        over = RandomSearch(candidates=20, finalists=3, rounds=3).select(shot.one_shot)
        assert spelled(over) == max(winners)[1]
        assert shot.few() == [word for number in range(3) for word in shot.drawn(number, 20)]
        assert len(shot.full()) == 9
        assert [length for _, length in shot.titles] == [20, 3] * 3
        assert len({title for title, _ in shot.titles}) == 6

        first = Shot(seed=seed)
        found = RandomSearch(candidates=20, finalists=3, rounds=3, best_over_rounds=False).select(first.one_shot)
        assert spelled(found) == winners[0][1]
        assert len(first.calls) == 23
    assert later > 0  # the two rules do differ here


def test_a_path_drawn_again_is_scored_once():
    """S5 has 81 architectures: 300 draws come back to almost all of them."""
    shot = Shot("s5")
    found = RandomSearch(candidates=150, finalists=10, rounds=2).select(shot.one_shot)
    rounds = [shot.drawn(number, 150) for number in (0, 1)]
    assert len(set(rounds[0])) < 100
    assert shot.few() == list(dict.fromkeys(rounds[0] + rounds[1]))
    assert len(shot.full()) == len(set(shot.full())) >= 10
    assert spelled(found) == max(shot.winner(number, 150, 10) for number in (0, 1))[1]

    scarce = Shot("s5")  # fewer paths than finalists: all of them are
    RandomSearch(candidates=1000, finalists=500).select(scarce.one_shot)
    assert sorted(scarce.full()) == sorted(set(scarce.drawn(0, 1000)))


def test_none_may_be_left_out():
    shot = Shot("s3")
    RandomSearch(candidates=20, finalists=2, none=False).select(shot.one_shot)
    assert shot.few() == shot.drawn(0, 20, none=False)
    assert not any("none" in word for word, _ in shot.calls)
    assert any("none" in word for word in shot.drawn(0, 20))


def test_the_seed_decides():
    found = [spelled(RandomSearch(candidates=9, finalists=2).select(Shot(seed=seed).one_shot)) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_a_real_supernet():
    """The winner has the smallest loss of all candidates where all are finalists."""
    space = build_space("s5")
    net, x = tiny_supernet(space), images()
    targets = torch.tensor([0, 1, 2, 0])
    relaxation = Uniform()

    def loss(mixing, active=None):
        with torch.no_grad(), evaluating(net):
            mixing = {name: weights.double() for name, weights in mixing.items()}
            return float(torch.nn.functional.cross_entropy(net(x, mixing, active), targets))

    shot = OneShot(space, relaxation, relaxation.init(space.choices), 3, lambda m, a, *_: -loss(m, a))
    found = RandomSearch(candidates=15, finalists=15).select(shot)
    paths = [space.sample(draws.seeded_generator(3, "random search", 0, index)) for index in range(15)]
    assert found == space.genotype_of(min(paths, key=loss))


def test_without_finalists_the_few_batches_decide():
    for seed in range(4):
        shot = Shot(seed=seed, levels=20)  # many ties: the first drawn wins
        found = RandomSearch(candidates=30, finalists=0, rounds=2).select(shot.one_shot)
        drawn = shot.drawn(0, 30) + shot.drawn(1, 30)
        top = max(shot.value(word, 10) for word in drawn)
        assert spelled(found) == next(word for word in drawn if shot.value(word, 10) == top)
        assert shot.few() == list(dict.fromkeys(drawn))
        assert shot.full() == []
        assert [length for _, length in shot.titles] == [30, 30]


def test_fresh_batches():
    """Candidate i has batches of its own, whatever was drawn before; finalists see all of them."""
    shot = Shot()
    RandomSearch(candidates=4, finalists=2, batches=3, rounds=2, fresh_batches=True).select(shot.one_shot)
    ranges = [range(3 * i, 3 * i + 3) for i in range(8)]
    given = [batches for _, batches in shot.calls]
    assert given == [*ranges[:4], None, None, *ranges[4:], None, None]
    small = Shot("s5")
    RandomSearch(candidates=60, finalists=0, batches=1, fresh_batches=True).select(small.one_shot)
    drawn = small.drawn(0, 60)
    firsts = [drawn.index(word) for word in dict.fromkeys(drawn)]
    assert len(firsts) < 60  # a path that comes again is not scored again
    assert [batches for _, batches in small.calls] == [range(i, i + 1) for i in firsts]


def test_only_what_is_open_is_drawn():
    shot = Shot("s3")
    decisions = Decisions(shot.space.choices)
    kept = torch.ones(14, 3, dtype=torch.bool)
    kept[:, 0] = False  # no `none`, and on the last edge but one operation
    kept[13, 1] = False
    decisions.shrink("normal", kept)
    decisions.prune("normal", 12)
    one_shot = replace(shot.one_shot, decisions=decisions)
    RandomSearch(candidates=40, finalists=0).select(one_shot)
    words = [dict(eval(word))["normal"] for word, _ in shot.calls]
    edges = {edge for word in words for edge in word}
    assert not any(op == "none" or (node, source) == (5, 3) for node, op, source in edges)
    assert {op for node, op, source in edges if (node, source) == (5, 4)} == {"sep_conv_3x3"}
    assert any("none" in repr(dict(eval(word))["reduce"]) for word, _ in shot.calls)
    untouched = Shot("s3")
    RandomSearch(candidates=5, finalists=0).select(replace(untouched.one_shot, decisions=Decisions(shot.space.choices)))
    assert untouched.few() == untouched.drawn(0, 5)


def test_more_finalists_than_candidates():
    with pytest.raises(ConfigError, match=r"selector\.finalists=11: .*selector\.candidates=10; use sel") as caught:
        RandomSearch(candidates=10, finalists=11)
    assert "\n" not in str(caught.value)
    RandomSearch(candidates=10, finalists=10)


def test_the_architecture_parameters_tell_magnitude_only():
    space, relaxation = build_space("s3"), Softmax(init_std=1.0)
    arch = relaxation.init(space.choices, seeded(0))
    assert RandomSearch()(space, relaxation.mean(arch)) is None
    assert Magnitude()(space, relaxation.mean(arch)) == space.genotype(relaxation(arch))
