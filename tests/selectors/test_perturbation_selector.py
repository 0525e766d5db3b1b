"""Perturbation-based selection with a fake accuracy that is a table of what is masked."""

import hashlib
from types import SimpleNamespace

import pytest
import torch

from cases import build_space, seeded
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.one_shot import OneShot
from nas_lightning.relaxations import Softmax
from nas_lightning.selectors import Magnitude, Perturbation
from nas_lightning.spaces import CellSpace, NasBench201Space

SEARCH = SimpleNamespace(weights=SimpleNamespace(lr=0.025))


def scattered(*key, levels=10**6):
    """A percentage that looks random, in so many steps."""
    return int(hashlib.sha256(repr(key).encode()).hexdigest(), 16) % levels / levels * 100


class Shot:
    """A fake supernet: what it measures is a function of what is masked, and every call is checked and noted.

    Args:
        value: (choice, row, masked options, rows of the node that are still there) → metric or loss.
    """

    def __init__(self, space, value, seed=0, spread=1.0):
        self.space, self.value = space, value
        self.relaxation = Softmax()
        self.relaxation.init(space.choices)
        rng = seeded(7)
        arch = {n: spread * torch.randn(c.num_rows, c.num_options, generator=rng) for n, c in space.choices.items()}
        self.decisions = Decisions(space.choices)
        self.calls, self.told, self.orders = [], [], []
        self.one_shot = OneShot(
            space, self.relaxation, arch, seed, self.accuracy, self.loss, self.decisions, print_line=self.told.append
        )

    def accuracy(self, mixing, active=None, batches=None, batch_norm="eval", order=None):
        return self._measure("accuracy", mixing, active, batches, batch_norm, order)

    def loss(self, mixing, active=None, batches=None, batch_norm="eval", order=None):
        return self._measure("loss", mixing, active, batches, batch_norm, order)

    def _measure(self, what, mixing, active, batches, batch_norm, order):
        strengths = self.one_shot.strengths()
        assert mixing.keys() == strengths.keys()
        assert set(active) == set(self.decisions.kept)
        (masked,) = [
            (name, int(row))
            for name, kept in self.decisions.kept.items()
            for row in (kept != active[name]).any(dim=1).nonzero()
        ]
        name, row = masked
        out = self.decisions.kept[name][row] & ~active[name][row]
        assert not (active[name][row] & ~self.decisions.kept[name][row]).any()
        for key, weights in mixing.items():  # nothing else changes, above all nothing is renormalised
            expected = strengths[key].clone()
            if key == name:
                expected[row, out] = 0
            assert torch.equal(weights, expected)
            if key in self.decisions.decided:
                settled = self.decisions.decided[key].clone()
                if key == name:
                    settled[row] = False
                assert torch.equal(weights[settled], self.decisions.kept[key][settled].float())
        options = tuple(out.nonzero().flatten().tolist())
        self.orders.append(order)
        self.calls.append((what, name, row, options, batches, batch_norm))
        there = tuple(self.decisions.present(name, self.space.choices[name].nodes[row]))
        return self.value(name, row, options, there)


def by_option(name, row, options, there):
    return scattered(name, row, options)


@pytest.mark.parametrize("topology", ["one_shot", "greedy"])
@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_every_mask_has_an_order_of_its_own_where_it_is_asked_for(topology, criterion):
    found = {}
    for reshuffle in (False, True):
        shots = [Shot(build_space("s3"), by_surroundings) for _ in range(2)]
        for shot in shots:
            Perturbation(tune_epochs=0, topology=topology, criterion=criterion, reshuffle=reshuffle).select(
                shot.one_shot
            )
        assert shots[0].orders == shots[1].orders  # a resume repeats them
        found[reshuffle] = shots[0].orders
    assert set(found[False]) == {None}
    assert len(set(found[True])) == len(found[True]) == len(found[False])


def by_surroundings(name, row, options, there):
    return scattered(name, row, options, there)


def few_levels(name, row, options, there):
    return scattered(name, row, options, levels=2)


def chosen_options(shot):
    return {
        name: [kept[row].nonzero().flatten().tolist() for row in range(len(kept))]
        for name, kept in shot.decisions.kept.items()
    }


def candidates(choice, row, none=False):
    return [o for o, op in enumerate(choice.options[row]) if none or op != "none"]


def best_option(value, choice, row, lower, none=False, there=()):
    """The first option with the lowest (or largest) number."""
    best, best_at = None, None
    for option in candidates(choice, row, none):
        number = value(choice.name, row, (option,), there)
        if best is None or (number < best if lower else number > best):
            best, best_at = number, option
    return best_at


def edges_kept(value, choice, node, options, greedy):
    """Rows that a node keeps: brute force over what each removal leaves."""
    present = list(choice.rows_of_node[node])
    if not greedy:
        number = {row: value(choice.name, row, tuple(options[row]), tuple(present)) for row in present}
        left = sorted(present, key=lambda row: (number[row], row))  # the lowest metric without it is worth most
        return sorted(left[: choice.keep])
    while len(present) > choice.keep:
        number = {row: value(choice.name, row, tuple(options[row]), tuple(present)) for row in present}
        present.remove(max(present, key=lambda row: (number[row], row)))
    return present


@pytest.mark.parametrize("value", [by_option, few_levels])
@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
@pytest.mark.parametrize("space", ["s1", "s2", "s3"])
def test_operations_against_a_loop(space, criterion, value):
    """The one whose absence hurts most, the first of equals; `none` never stands in a genotype of these spaces."""
    shot = Shot(build_space(space), value)
    Perturbation(criterion=criterion, tune_epochs=0).select(shot.one_shot)
    decided = [row for row in shot.decisions.history if row["kind"] == "operation"]
    assert len(decided) == 28
    for note in decided:
        choice = shot.space.choices[note["choice"]]
        best = best_option(value, choice, note["row"], lower=criterion == "accuracy")
        assert note["option"] == choice.options[note["row"]][best] != "none"
    assert {call[0] for call in shot.calls} == {criterion}
    assert len(shot.calls) == 28 * 2 + 2 * (3 + 4 + 5)


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("value", [by_option, by_surroundings, few_levels])
def test_edges_against_a_loop(greedy, value):
    shot = Shot(build_space("s2"), value)
    found = Perturbation(tune_epochs=0, topology="greedy" if greedy else "one_shot").select(shot.one_shot)
    for name, choice in shot.space.choices.items():
        options = [[best_option(value, choice, row, lower=True)] for row in range(14)]
        if value is by_surroundings:  # the operations are measured while all edges are there
            options = [
                [best_option(value, choice, row, True, there=tuple(choice.rows_of_node[choice.nodes[row]]))]
                for row in range(14)
            ]
        expected = set()
        for node in choice.rows_of_node:
            for row in edges_kept(value, choice, node, options, greedy):
                expected.add((node, choice.options[row][options[row][0]], choice.sources[row]))
        assert set(found.cells[name]) == expected
        assert len(found.cells[name]) == 8
    shot.space.validate(found)


def test_one_shot_and_greedy_can_differ():
    """Edge 3 can be missed while the others are there, and cannot once edge 0 is gone."""

    def value(name, row, options, there):
        if row not in (5, 6, 7, 8):  # edges into other nodes than 4
            return 0.0
        return [60.0, 20.0, 50.0, 55.0][row - 5] if len(there) == 4 else {6: 20.0, 7: 50.0, 8: 10.0}.get(row, 0.0)

    kept = {}
    for topology in ("one_shot", "greedy"):
        shot = Shot(build_space("s2"), value)
        Perturbation(tune_epochs=0, topology=topology).select(shot.one_shot)
        kept[topology] = shot.decisions.present("normal", 4)
    assert kept == {"one_shot": [6, 7], "greedy": [6, 8]}


@pytest.mark.parametrize("topology", ["one_shot", "greedy"])
def test_measurements_are_counted(topology):
    """28 · 2 masks for the operations; 3 + 4 + 5 edges of each cell at once, or one after the other."""
    shot = Shot(build_space("s2"), by_option)
    Perturbation(tune_epochs=0, topology=topology, batches=3, batch_norm="eval").select(shot.one_shot)
    assert len(shot.calls) == 56 + 2 * (12 if topology == "one_shot" else 3 + 4 + 3 + 5 + 4 + 3)
    assert {call[4:] for call in shot.calls} == {(3, "eval")}
    assert len(shot.told) == 28 + 2 * (3 if topology == "one_shot" else 6)


def test_defaults_are_the_released_ones():
    shot = Shot(build_space("s2"), by_option)
    selector = Perturbation()
    selector.decide(shot.one_shot, 0)
    assert {call[0] for call in shot.calls} == {"accuracy"}
    assert {call[4:] for call in shot.calls} == {(None, "train")}
    assert selector(shot.space, shot.one_shot.strengths()) is None
    overrides = selector.tuning(shot.space, SEARCH).overrides
    assert overrides["search.weights.lr"] == pytest.approx(0.0025)
    assert overrides["search.weights.schedule"] == "constant"
    assert "hypergradient" not in overrides
    fixed = Perturbation(train_arch=False, lr=0.1).tuning(shot.space, SEARCH).overrides
    assert fixed["search.weights.lr"] == 0.1
    assert fixed["hypergradient"]["_target_"].endswith(".Nothing")


# none -------------------------------------------------------------------------------------------------------------


def none_hurts_most(name, row, options, there):
    return 0.0 if options == (0,) else 10.0 + scattered(name, row, options)


@pytest.mark.parametrize("none", [True, False])
def test_none_where_no_genotype_may_hold_it(none):
    shot = Shot(build_space("s3"), none_hurts_most)
    found = Perturbation(tune_epochs=0, none=none).select(shot.one_shot)
    assert not any(op == "none" for edges in found.cells.values() for _, op, _ in edges)
    assert not any(call[3] == (0,) for call in shot.calls)  # it is not even measured


def test_none_in_nas_bench_201():
    shot = Shot(NasBench201Space(), none_hurts_most)
    found = Perturbation(tune_epochs=0).select(shot.one_shot)
    assert [op for _, op, _ in found.cells["cell"]] == ["none"] * 6
    assert len(shot.calls) == 6 * 5  # and no topology
    shot = Shot(NasBench201Space(), none_hurts_most)
    found = Perturbation(tune_epochs=0, none=False).select(shot.one_shot)
    choice = shot.space.choices["cell"]
    expected = [
        min(range(1, 5), key=lambda option, row=row: none_hurts_most("cell", row, (option,), ())) for row in range(6)
    ]
    assert [op for _, op, _ in found.cells["cell"]] == [choice.options[0][option] for option in expected]


def test_an_edge_with_nothing_but_none_is_pruned():
    lists = [["skip_connect", "none"], ["skip_connect", "sep_conv_3x3"], ["none"], ["skip_connect"], ["sep_conv_3x3"]]
    space = CellSpace("odd", {"normal": lists, "reduce": lists}, num_nodes=2)
    shot = Shot(space, by_option)
    found = Perturbation(tune_epochs=0).select(shot.one_shot)
    assert [(n, s) for n, _, s in found.cells["normal"]] == [(2, 0), (2, 1), (3, 1), (3, 2)]
    assert [r["row"] for r in shot.decisions.history if r["kind"] == "pruned" and r["choice"] == "normal"] == [2]
    space.validate(found)


# Order and schedule -----------------------------------------------------------------------------------------------


def order_of(shot):
    return [(row["choice"], row["row"]) for row in shot.decisions.history]


def test_the_order_is_the_seeds_own():
    def decided(seed, selector_seed=None, noise=0):
        torch.manual_seed(noise)
        shot = Shot(build_space("s2"), by_option, seed=seed)
        Perturbation(tune_epochs=0, seed=selector_seed).select(shot.one_shot)
        return order_of(shot)

    first = decided(0)
    assert first == decided(0, noise=5)
    assert sorted(first[:28]) == sorted((name, row) for name in ("normal", "reduce") for row in range(14))
    assert first[:28:2] != [("normal", row) for row in range(14)]  # not in index order, and each cell in its own
    assert [row for _, row in first[:28:2]] != [row for _, row in first[1:28:2]]
    assert decided(1) != first == decided(1, selector_seed=0)
    shot = Shot(build_space("s2"), by_option)
    state = torch.random.get_rng_state()
    Perturbation(tune_epochs=0).select(shot.one_shot)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_selection_goes_on_from_its_decisions():
    """What a checkpoint holds is enough: the order, the options and the edges are those of one that ran through."""
    whole = Shot(build_space("s3"), by_surroundings)
    Perturbation().select(whole.one_shot)
    for epoch in (0, 35, 70, 75):
        first, second = (Shot(build_space("s3"), by_surroundings) for _ in range(2))
        Perturbation().decide(first.one_shot, epoch)
        second.decisions.load_state_dict(first.decisions.state_dict())
        Perturbation().select(second.one_shot)
        assert [{**row, "epoch": 0} for row in second.decisions.history] == [
            {**row, "epoch": 0} for row in whole.decisions.history
        ]


def decisions_by_epoch(selector, shot, epochs):
    """How many operations and how many edges of the first choice are settled before each epoch, and at the end."""
    name = next(iter(shot.decisions.kept))
    seen = []

    def note(when, changed=None):
        rows = [row for row in shot.decisions.history if row["choice"] == name]
        operations = sum(row["kind"] == "operation" for row in rows)
        nodes = len({row["node"] for row in rows if row["kind"] == "pruned"})
        if not seen or seen[-1][1:] != (operations, nodes):
            seen.append((when, operations, nodes))
        elif changed is not None:
            assert not changed

    for epoch in range(epochs):
        note(epoch, selector.decide(shot.one_shot, epoch))
    selector.select(shot.one_shot)
    note("end")
    return seen


def test_darts_takes_80_epochs():
    shot = Shot(build_space("s2"), by_option)
    selector = Perturbation()
    assert selector.tuning(shot.space, SEARCH).epochs == 80
    expected = [(5 * i, i + 1, 0) for i in range(14)] + [(70, 14, 1), (75, 14, 2), ("end", 14, 3)]
    assert decisions_by_epoch(selector, shot, 80) == expected


def test_nas_bench_201_as_released():
    shot = Shot(NasBench201Space(), by_option)
    selector = Perturbation(epochs=24)
    assert selector.tuning(shot.space, SEARCH).epochs == 24
    assert Perturbation().tuning(shot.space, SEARCH).epochs == 25
    expected = [(0, 1, 0), (5, 2, 0), (10, 3, 0), (15, 4, 0), (20, 5, 0), ("end", 6, 0)]
    assert decisions_by_epoch(selector, shot, 24) == expected


@pytest.mark.parametrize(
    ("arguments", "epochs", "expected"),
    [
        ({"tune_epochs": 2, "epochs": 5}, 5, [(0, 1, 0), (2, 2, 0), (4, 3, 0), ("end", 14, 3)]),
        # More epochs than the decisions need are not run: they would tune for nothing.
        (
            {"tune_epochs": 1, "epochs": 20},
            16,
            [*((i, min(14, i + 1), max(0, i - 13)) for i in range(16)), ("end", 14, 3)],
        ),
    ],
)
def test_other_schedules(arguments, epochs, expected):
    shot = Shot(build_space("s2"), by_option)
    selector = Perturbation(**arguments)
    assert selector.tuning(shot.space, SEARCH).epochs == epochs
    assert decisions_by_epoch(selector, shot, epochs) == expected


@pytest.mark.parametrize("arguments", [{"tune_epochs": 0}, {"epochs": 0}, {"tune_epochs": 0, "epochs": 2}])
def test_without_tuning_there_is_no_stage(arguments):
    assert Perturbation(**arguments).tuning(build_space("s2"), SEARCH) is None


def test_what_a_search_has_settled_stays():
    """Dropped options are no candidates; a decided edge keeps its operation, a pruned one is gone."""
    shot = Shot(build_space("darts"), by_option)
    keep = torch.zeros(14, 8, dtype=torch.bool)
    keep[:, [0, 3, 5]] = True
    for name in ("normal", "reduce"):
        shot.decisions.decide(name, 4, 7)
        shot.decisions.prune(name, 2)
        shot.decisions.shrink(name, keep)
    shot.relaxation.restrict(shot.decisions.kept)
    found = Perturbation(tune_epochs=0).select(shot.one_shot)
    for name in ("normal", "reduce"):
        measured = [call for call in shot.calls if call[1] == name]
        assert {call[3] for call in measured} == {(3,), (5,)}
        assert not any(call[2] == 2 for call in measured)
        assert {(n, s): op for n, op, s in found.cells[name]}[3, 2] == "dil_conv_5x5"  # the only two left of node 3
        assert {s for n, _, s in found.cells[name] if n == 3} == {1, 2}
    operations = {(call[1], call[2]) for call in shot.calls if call[2] in (3, 4)}
    assert operations == {("normal", 3), ("reduce", 3)}  # row 4 was decided: nothing is measured of it


# PT-Mag -----------------------------------------------------------------------------------------------------------


def edges_of(genotype):
    """The edges of each cell without their order."""
    return {name: set(edges) for name, edges in genotype.cells.items()}


def never(*_):
    raise AssertionError("nothing is to be measured")


@pytest.mark.parametrize("topology", ["one_shot", "greedy"])
@pytest.mark.parametrize("space", ["s1", "s2", "s3", "darts", "s5"])
def test_magnitude_without_tuning_is_the_magnitude_genotype(space, topology):
    """Also where `none` is the strongest of an edge, which says nothing of the edge."""
    shot = Shot(build_space(space), never, spread=2.0)
    expected = Magnitude()(shot.space, shot.one_shot.strengths())
    found = Perturbation(strength="magnitude", tune_epochs=0, topology=topology).select(shot.one_shot)
    assert edges_of(found) == edges_of(expected)


def test_magnitude_with_edge_weights():
    shot = Shot(build_space("s2").variant(edge_weights=True), never, spread=3.0)
    expected = Magnitude()(shot.space, shot.one_shot.strengths())
    plain = Magnitude()(shot.space, {name: shot.one_shot.strengths()[name] for name in ("normal", "reduce")})
    assert plain != expected
    found = Perturbation(strength="magnitude", tune_epochs=0).select(shot.one_shot)
    assert edges_of(found) == edges_of(expected)


def test_edge_weights_are_handed_on():
    """The weights of the edges are mixing weights like the others: they stay while something is masked."""
    shot = Shot(build_space("s2").variant(edge_weights=True), by_option)
    found = Perturbation(tune_epochs=0).select(shot.one_shot)
    plain = Shot(build_space("s2"), by_option)
    expected = Perturbation(tune_epochs=0).select(plain.one_shot)  # the fake does not look at them
    assert edges_of(found) == edges_of(expected)
    assert shot.calls == plain.calls


def test_magnitude_in_nas_bench_201():
    shot = Shot(NasBench201Space(), never, spread=2.0)
    found = Perturbation(strength="magnitude", tune_epochs=0).select(shot.one_shot)
    assert found == Magnitude()(shot.space, shot.one_shot.relaxation.mean(shot.one_shot.arch))


def test_magnitude_notes_the_weights():
    shot = Shot(build_space("s2"), never)
    mean = shot.relaxation.mean(shot.one_shot.arch)
    Perturbation(strength="magnitude").decide(shot.one_shot, 0)
    note = shot.decisions.history[0]
    weights = mean[note["choice"]][note["row"]].tolist()
    assert note["measured"] == f"skip_connect {weights[0]:.6g}, sep_conv_3x3 {weights[1]:.6g}"
    assert note["epoch"] == 0
