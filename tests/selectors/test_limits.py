"""The strongest architecture under limits against brute force in small spaces; magnitude selection with limits."""

import json
import math
from itertools import combinations, product

import pytest
import torch

import nas_lightning as nl
from cases import random_mixing, seeded
from commands import run as command
from layered_toy import SMALLEST, toy
from nas_lightning.core.choices import edge_key
from nas_lightning.core.costs import Costs, CostTable
from nas_lightning.core.functional import count_macs, count_parameters
from nas_lightning.core.one_shot import OneShot
from nas_lightning.relaxations import Relaxation
from nas_lightning.selectors import Magnitude
from nas_lightning.selectors.limits import EMPTY, Limit, Part, combined, smallest, strongest_within, undominated
from nas_lightning.spaces import CellSpace, NasBench201Space

CELLS = CellSpace("cells", ("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"), num_nodes=2, keep=2)
SIZES = {"layers": {}, "cells": {"init_channels": 4, "layers": 3}, "nasbench201": {"init_channels": 4, "layers": 1}}
SPACES = {
    "layers": toy(),
    "cells": CELLS,
    "weighted": CELLS.variant(edge_weights=True),
    "nasbench201": NasBench201Space(),
}


def costs_of(space, name):
    sizes = SIZES.get(name, SIZES["cells"])
    return Costs(space, lambda g: space.network(g, num_classes=3, **sizes), lambda: torch.zeros(1, 3, 8, 8))


def every_choice(choice, strengths):
    """All decisions of a choice: (product of strengths, rows and options), by plain loops."""
    weights = strengths.get(edge_key(choice.name))
    allowed = (choice.mask & choice.selectable).tolist()
    per_node = []
    for place, (node, rows) in enumerate(choice.rows_of_node.items()):
        found = []
        for subset in combinations(rows, choice.kept_at(node) or len(rows)):
            for options in product(*([o for o, yes in enumerate(allowed[row]) if yes] for row in subset)):
                value = 1.0
                for row, option in zip(subset, options, strict=True):
                    value *= float(strengths[choice.name][row, option])
                    value *= 1.0 if weights is None else float(weights[place, rows.index(row)])
                found.append((value, tuple(zip(subset, options, strict=True))))
        per_node.append(found)
    for nodes in product(*per_node):
        yield math.prod(value for value, _ in nodes), [pair for _, pairs in nodes for pair in pairs]


def every_architecture(space, strengths, tables):
    """All of them: (product of strengths, costs by the tables), by plain loops."""
    lists = []
    for choice in (choice for choice in space.choices.values() if choice.kind == "op"):
        costs = [table.options[choice.name].tolist() for table in tables]
        lists.append(
            [
                (value, [sum(cost[row][option] for row, option in pairs) for cost in costs])
                for value, pairs in every_choice(choice, strengths)
            ]
        )
    for picks in product(*lists):
        value = math.prod(value for value, _ in picks)
        yield value, [table.fixed + sum(costs[i] for _, costs in picks) for i, table in enumerate(tables)]


def value_of(space, strengths, path):
    value = 1.0
    for name, choice in space.choices.items():
        if choice.kind != "op":
            continue
        weights = strengths.get(edge_key(name))
        for place, rows in enumerate(choice.rows_of_node.values()):
            for row in rows:
                for option in path[name][row].nonzero()[:, 0].tolist():
                    value *= float(strengths[name][row, option])
                    value *= 1.0 if weights is None else float(weights[place, rows.index(row)])
    return value


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("seed", range(2))
def test_against_all_architectures(name, seed):
    space = SPACES[name]
    costs = costs_of(space, name)
    macs, params = costs.table("macs"), costs.table("params")
    strengths = random_mixing(space, seed)
    unlimited = space.path_of(space.genotype(strengths))
    sizes = [table.of_path(unlimited) / 1e6 for table in (macs, params)]
    least = [smallest(space, strengths, table) for table in (macs, params)]
    every = list(every_architecture(space, strengths, [macs, params]))
    for share in (0.0, 0.3, 0.8, 1.0):
        most = [low + share * (high - low) for low, high in zip(least, sizes, strict=True)]
        for limits in ([Limit(macs, most[0])], [Limit(macs, most[0]), Limit(params, most[1])]):
            path = strongest_within(space, strengths, limits)
            bounds = [1e6 * limit.most + 1e-3 for limit in limits]
            within = [v for v, costs in every if all(c <= b for c, b in zip(costs, bounds, strict=False))]
            best = max(within, default=None)
            assert (path is None) == (best is None)
            if path is not None:
                assert all(limit.allows(path) for limit in limits)
                assert value_of(space, strengths, path) == pytest.approx(best, rel=1e-9)
    assert strongest_within(space, strengths, [Limit(macs, 0.999 * least[0])]) is None


@pytest.mark.parametrize("seed", range(20))
def test_sums_of_random_numbers_against_all_of_them(seed):
    """Costs that never coincide, negative scores, two limits that bind."""
    rng = seeded(seed)
    groups = [
        [Part(float(s), (float(a), float(b))) for s, a, b in torch.rand(4, 3, generator=rng, dtype=torch.float64)]
        for _ in range(5)
    ]
    limits = (2.2, 2.5)
    sums = [sum(parts, EMPTY) for parts in product(*groups)]
    within = [part for part in sums if part.costs[0] <= limits[0] and part.costs[1] <= limits[1]]
    found = combined(groups, limits)
    assert bool(found) == bool(within)
    if within:
        assert found[0].score == pytest.approx(max(part.score for part in within), rel=1e-12)
    front = undominated(sums)
    plain = [
        part
        for part in sums
        if not any(
            other.score >= part.score and other.costs[0] <= part.costs[0] and other.costs[1] <= part.costs[1]
            for other in sums
            if other is not part
        )
    ]
    assert sorted(part.costs for part in front) == sorted(part.costs for part in plain)


@pytest.mark.parametrize("name", ["layers", "cells", "nasbench201"])
def test_a_loose_limit_changes_nothing(name):
    space = SPACES[name]
    for seed in range(3):
        strengths = random_mixing(space, seed)
        limited = Magnitude(max_macs=1e6, max_params=1e6, costs=costs_of(space, name))
        assert limited(space, strengths) == Magnitude()(space, strengths)
        table = CostTable("macs", 0, costs_of(space, name).table("macs").options)
        path = strongest_within(space, strengths, [Limit(table, math.inf)])
        assert space.path_of(space.genotype_of(path)).keys() == path.keys()
        assert value_of(space, strengths, path) == pytest.approx(
            value_of(space, strengths, space.path_of(space.genotype(strengths))), rel=1e-12
        )


class Fixed(Relaxation):
    """Strengths that are given."""

    def __init__(self, strengths):
        super().__init__()
        self.given = strengths

    def mean(self, arch):
        return self.given


def test_what_has_no_strength_is_not_taken():
    """Decided rows and dropped options: the limit cannot be kept to any more, and the message says so."""
    space = toy()
    costs = costs_of(space, "layers")
    selector = Magnitude(max_macs=0.02, costs=costs)
    selector.check(space)
    largest = space.choices["layers"].one_hot([3, 3, 3, 3])
    assert selector(space, {"layers": largest}) is None
    assert selector.report(space, space.genotype({"layers": largest}))["max_macs"] == 0.02
    one_shot = OneShot(space, Fixed({"layers": largest}), {}, 0, None)
    with pytest.raises(
        nl.ConfigError, match=r"max_macs=0\.02: the smallest network of what the search has left open has"
    ):
        selector.select(one_shot)


def search_of(words, folder, capsys):
    words = [*words, "task=search", "search.epochs=1", f"hydra.run.dir={folder}"]
    return command(words, capsys)


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        (["space=mobilenet_small", *SMALLEST], {}),
        pytest.param(["space=s3"], {"init_channels": 4, "layers": 3}, marks=pytest.mark.slow),
        (["method=gdas", "space=nasbench201", "search.layers=1"], {"init_channels": 4, "layers": 3}),
    ],
    ids=["layers", "s3", "gdas"],
)
def test_a_search_within_limits(words, sizes, tiny, tmp_path, capsys):
    """The limit lies halfway between what the search would take and the smallest network."""
    assert search_of([*tiny, *words], tmp_path / "free", capsys)[0] == 0
    space = nl.build_space(nl.compose([*tiny, *words]))

    def counts(folder):
        genotype = nl.Genotype.from_dict(json.loads((folder / "summary.json").read_text())["genotype"])
        network = space.network(genotype, num_classes=4, in_channels=1, **sizes)
        return count_macs(network, 1, 8) / 1e6, count_parameters(network) / 1e6

    macs, params = counts(tmp_path / "free")
    code, _, err = search_of([*tiny, *words, "selector.max_macs=1e-6"], tmp_path / "none", capsys)
    assert code == 2
    assert not (tmp_path / "none" / "config.yaml").exists()
    least = float(err.rpartition("selector.max_macs=")[2].split()[0])
    assert least < macs
    most = [f"selector.max_macs={(macs + least) / 2}", f"selector.max_params={params}"]
    assert search_of([*tiny, *words, *most], tmp_path / "within", capsys)[0] == 0
    selection = json.loads((tmp_path / "within" / "summary.json").read_text())["selection"]
    found = counts(tmp_path / "within")
    assert found[0] <= (macs + least) / 2 < macs
    assert found[1] <= params
    assert (selection["macs"], selection["params"]) == pytest.approx(found, rel=1e-12)
    assert selection["max_macs"] == pytest.approx((macs + least) / 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["space=nasbench1shot1_1", "selector.max_macs=5"], "space=nasbench1shot1_1: cannot tell what each operation"),
        (["space=s3", "selector=perturbation", "+selector.max_macs=5"], "selector.max_macs"),
        (
            ["space=s3", "selector=perturbation", "selector.max_macs=5"],
            "selector.max_macs=5: there is no such key with selector=perturbation; leave one of them out",
        ),
        (["space=s3", "selector.max_macs=0"], "selector.max_macs=0"),
        (["space=s3", "selector.max_params=1e-6"], "selector.max_params=1e-06: the smallest network of space=s3 has"),
    ],
)
def test_limits_that_cannot_be_kept_to_are_refused(words, message, tiny, tmp_path, capsys):
    code, _, err = search_of([*tiny, *words], tmp_path / "run", capsys)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "config.yaml").exists()
