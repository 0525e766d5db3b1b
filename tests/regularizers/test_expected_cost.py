"""The cost as an objective: value and gradient against counts and finite differences, refusals, a search."""

import math

import pytest
import torch

import nas_lightning as nl
from cases import build_space, seeded
from layered_toy import SMALLEST, toy
from nas_lightning.core.costs import Costs
from nas_lightning.core.functional import count_macs, count_parameters
from nas_lightning.regularizers import ExpectedCost
from nas_lightning.relaxations import Softmax
from nas_lightning.runs.folder import RunFolder
from nas_lightning.spaces import NasBench201Space

SIZE = 8
COUNTS = {"macs": lambda network: count_macs(network, 3, SIZE), "params": count_parameters}


def network_of(space, genotype):
    sizes = {"init_channels": 4, "layers": 1} if isinstance(space, NasBench201Space) else {}
    return space.network(genotype, num_classes=3, **sizes)


def part_of(space, **values):
    costs = Costs(space, lambda genotype: network_of(space, genotype), lambda: torch.zeros(1, 3, SIZE, SIZE))
    part = ExpectedCost(costs=costs, **values)
    assert part.build(space) is space
    return part


@pytest.mark.parametrize("space", [toy(), toy(residual="outer"), NasBench201Space()], ids=["inner", "outer", "201"])
@pytest.mark.parametrize("cost", ["macs", "params"])
def test_at_a_decided_architecture_it_is_the_exact_count(space, cost):
    part = part_of(space, cost=cost, target=0.5, weight=1.0)
    for seed in range(3):
        path = {name: weights.double() for name, weights in space.sample(seeded(seed)).items()}
        exact = COUNTS[cost](network_of(space, space.genotype_of(path)))
        assert float(part.penalty({}, path, {})) == pytest.approx(exact / 0.5e6, rel=1e-12)
        assert part.metrics() == {f"expected_{cost}": pytest.approx(exact / 1e6, rel=1e-12)}


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ({}, lambda share: 0.1 * share),
        ({"exponent": 0.6, "weight": 2.0, "target": 0.3}, lambda share: 2 * share**0.6),
        ({"form": "log", "weight": 0.5}, lambda share: 0.5 * math.log(share)),
    ],
    ids=["linear", "power", "log"],
)
def test_its_gradient_is_that_of_finite_differences(values, form):
    """Also with options that do not take part, and of a sum that is written out."""
    space, relaxation = toy(), Softmax()
    part = part_of(space, **values)
    relaxation.init(space.choices)
    kept = space.choices["layers"].mask.clone()
    kept[1, 2] = False
    relaxation.restrict({"layers": kept})
    arch = torch.randn(*kept.shape, generator=seeded(0), dtype=torch.float64)

    def value(table):
        return part.penalty({"layers": table}, relaxation.mean({"layers": table}), {"layers": kept})

    macs = part.costs.table("macs")
    p = torch.softmax(arch.masked_fill(~kept, -torch.inf), dim=1)
    rows = [sum(float(p[r, o] * macs.options["layers"][r, o]) for o in range(kept.shape[1])) for r in range(len(p))]
    uniform = space.choices["layers"].uniform().double()
    default = macs.fixed + float((uniform * macs.options["layers"]).sum())
    target = values["target"] * 1e6 if "target" in values else default
    assert float(value(arch)) == pytest.approx(form((macs.fixed + sum(rows)) / target), rel=1e-6)
    assert torch.autograd.gradcheck(value, arch.clone().requires_grad_(), eps=1e-6, atol=1e-8)


def test_where_all_weigh_the_same_it_is_its_weight():
    space = toy()
    part = part_of(space)
    assert math.isnan(part.metrics()["expected_macs"])
    uniform = {"layers": space.choices["layers"].uniform().double()}
    assert float(part.penalty({}, uniform, {})) == pytest.approx(0.1, rel=1e-6)


def test_weighted_edges_count_by_their_weights():
    space = build_space("darts").variant(edge_weights=True)
    sizes = {"init_channels": 4, "layers": 3}
    costs = Costs(space, lambda g: space.network(g, num_classes=3, **sizes), lambda: torch.zeros(1, 3, SIZE, SIZE))
    part = ExpectedCost(weight=1.0, target=1.0, costs=costs)
    part.build(space)
    genotype = space.genotype_of(space.sample(seeded(3), False))
    path = {name: weights.double() for name, weights in space.path_of(genotype).items()}
    for name in ("normal", "reduce"):
        taken = path[name].sum(dim=1)
        for place, rows in enumerate(space.choices[name].rows_of_node.values()):
            path[f"{name}_edge"][place] = 0
            path[f"{name}_edge"][place, : len(rows)] = taken[rows] / taken[rows].sum()
    exact = count_macs(space.network(genotype, num_classes=3, **sizes), 3, SIZE)
    assert float(part.penalty({}, path, {})) == pytest.approx(exact / 1e6, rel=1e-12)


def test_a_latency_needs_a_table_and_counts_need_none():
    with pytest.raises(nl.ConfigError, match=r"expected_cost\.table=null: cost=latency is measured beforehand"):
        part_of(toy(), cost="latency")
    with pytest.raises(nl.ConfigError, match=r"table=x\.json: cost=macs is counted; leave it out"):
        part_of(toy(), table="x.json")


@pytest.mark.parametrize("words", [["relaxation=softmax"], ["method=gdas"], ["method=drnas"], ["method=sdarts_rs"]])
def test_a_search_prefers_cheap_options(words, tiny, tmp_path):
    """A term of great weight, whatever the relaxation: every epoch the expected cost falls."""
    search = [*tiny, *words, "space=mobilenet_small", *SMALLEST, "task=search", "search.epochs=3", "search.arch.lr=0.1"]
    cfg = nl.compose([*search, "+regularizer=expected_cost", "regularizer.expected_cost.weight=100"])
    nl.search(cfg, run_dir=tmp_path / "run")
    costs = [float(row["expected_macs"]) for row in RunFolder(tmp_path / "run").read_metrics()]
    assert costs[0] > costs[1] > costs[2] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=rs_ws", "space=mobilenet_small", *SMALLEST], "learns no architecture, so its cost"),
        (
            ["method=fair_darts"],
            r"regularizer\.expected_cost: the mixing weights of relaxation Sigmoid do not sum to 1.*relaxation=softmax",
        ),
        (["method=darts", "space=nasbench1shot1_1"], "space=nasbench1shot1_1: cannot tell what each operation costs"),
    ],
    ids=["nothing_learned", "no_probabilities", "not_additive"],
)
def test_searches_without_such_a_cost_are_refused(words, message, tiny, tmp_path):
    cfg = nl.compose([*tiny, *words, "task=search", "+regularizer=expected_cost"])
    with pytest.raises(nl.ConfigError, match=message):
        nl.search(cfg, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
