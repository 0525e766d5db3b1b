"""Tables of costs against exact counts of discrete networks, and shares of edges against enumeration."""

from itertools import combinations, product

import pytest
import torch

import nas_lightning as nl
from cases import block_space, build_space, random_mixing, seeded
from layered_toy import toy
from nas_lightning.core.choices import Choice
from nas_lightning.core.costs import Costs, edge_shares
from nas_lightning.core.functional import count_macs, count_parameters
from nas_lightning.spaces import CellSpace, NasBench201Space

SIZE = 8
SMALL = CellSpace("small", ("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"), num_nodes=2, keep=1)
SPACES = [
    pytest.param(toy(), {}, id="layers"),
    pytest.param(toy(residual="outer", se=True, activation="swish"), {}, id="outer"),
    pytest.param(NasBench201Space(), {"init_channels": 4, "layers": 1}, id="nasbench201"),
    *[
        pytest.param(build_space(name), {"init_channels": 4, "layers": 4}, id=name)
        for name in ("darts", "s1", "s4", "s5")
    ],
]


def costs_of(space, sizes):
    return Costs(space, lambda g: space.network(g, num_classes=3, **sizes), lambda: torch.zeros(1, 3, SIZE, SIZE))


@pytest.mark.parametrize(("space", "sizes"), SPACES)
def test_a_path_costs_what_its_network_is_counted_at(space, sizes):
    before = torch.random.get_rng_state()
    costs = costs_of(space, sizes)
    macs, params = costs.table("macs"), costs.table("params")
    assert torch.equal(torch.random.get_rng_state(), before)  # the weights of the search are drawn from there
    for seed in range(3):
        genotype = space.genotype(random_mixing(space, seed))
        network = space.network(genotype, num_classes=3, **sizes)
        path = space.path_of(genotype)
        assert macs.of_path(path) == count_macs(network, 3, SIZE)
        assert params.of_path(path) == count_parameters(network)
    assert macs.fixed > 0
    assert macs.in_unit(2e6) == 2


@pytest.mark.parametrize(("space", "sizes"), SPACES[:3])
def test_the_expected_cost_of_a_path_is_its_cost(space, sizes):
    macs = costs_of(space, sizes).table("macs")
    path = space.sample(seeded(1))
    found = macs.expected(space.choices, {name: weights.double() for name, weights in path.items()}, {})
    assert float(found) == macs.of_path(path)


def test_the_expected_cost_is_the_mean_over_all_networks():
    """Each weighted by its probability: options independent, one edge of each node, all edges equally likely."""
    macs = costs_of(SMALL, {"init_channels": 4, "layers": 4}).table("macs")
    mixing = random_mixing(SMALL)
    for weights in mixing.values():
        weights[:, 0] = 0  # `none`, which no genotype holds
        weights /= weights.sum(dim=1, keepdim=True)
    mean = macs.fixed
    for name, choice in SMALL.choices.items():
        for rows in product(*choice.rows_of_node.values()):
            for options in product(range(1, 4), repeat=len(rows)):
                probability, cost = 1.0, 0.0
                for row, option in zip(rows, options, strict=True):
                    same_node = choice.rows_of_node[choice.nodes[row]]
                    probability *= float(mixing[name][row, option]) / len(same_node)
                    cost += float(macs.options[name][row, option])
                mean += probability * cost
    assert float(macs.expected(SMALL.choices, mixing, {})) == pytest.approx(mean, rel=1e-12)


def test_shares_of_edges():
    choice = Choice("normal", "op", (("a", "b"),) * 5, (0, 1, 0, 1, 2), (2, 2, 3, 3, 3), keep=2)
    thirds = [1.0, 1.0, 2 / 3, 2 / 3, 2 / 3]
    assert edge_shares(choice, None, None).tolist() == pytest.approx(thirds)
    chosen = [set(pair) for pair in combinations((2, 3, 4), 2)]
    assert edge_shares(choice, None, None)[2].item() == pytest.approx(sum(2 in pair for pair in chosen) / len(chosen))
    kept = choice.mask.clone()
    kept[3] = False
    assert edge_shares(choice, kept, None).tolist() == [1, 1, 1, 0, 1]
    weights = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]], dtype=torch.float64)
    assert edge_shares(choice, None, weights).tolist() == pytest.approx([1, 1, 0.4, 0.6, 1.0])


def test_spaces_whose_costs_do_not_add_up_are_refused():
    space = block_space("nasbench1shot1_1")
    with pytest.raises(nl.ConfigError, match="space=nasbench1shot1_1: cannot tell what each operation costs"):
        costs_of(space, {"init_channels": 4, "layers": 1}).table("macs")

    class Odd(NasBench201Space):
        def placed_operations(self, network, genotype):
            placed = super().placed_operations(network, genotype)
            return {place: parts[:1] for place, parts in placed.items()}  # of the first cell only

    with pytest.raises(nl.ConfigError, match="do not add up to those of its networks"):
        costs_of(Odd(), {"init_channels": 4, "layers": 1}).table("macs")
