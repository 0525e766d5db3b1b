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


def filled_by_bisection(weights, keep):
    """min(1, c·w) with the c at which these sum to `keep`."""
    low, high = 0.0, keep / min(weights)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(min(1.0, middle * w) for w in weights) < keep else (low, middle)
    return [min(1.0, high * w) for w in weights]


def shares_of(weights, keep):
    """Of the edges into a single node; these must not depend on how the row is padded."""
    number = len(weights)
    choice = Choice("normal", "op", (("a", "b"),) * number, tuple(range(number)), (number,) * number, keep=keep)
    padded = torch.cat([weights, torch.zeros(2, dtype=weights.dtype)])
    return edge_shares(choice, None, padded[None])


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_shares_of_weighted_edges_sum_to_the_edges_that_are_kept(keep):
    for seed, sharpness in [(0, 0.3), (1, 2.0), (2, 5.0), (3, 12.0)]:
        weights = torch.softmax(sharpness * torch.randn(5, generator=seeded(seed), dtype=torch.float64), dim=0)
        shares = shares_of(weights, keep)
        assert shares.tolist() == pytest.approx(filled_by_bisection(weights.tolist(), keep), rel=1e-9)
        assert float(shares.sum()) == pytest.approx(keep, rel=1e-12)
        if float(weights.max()) * keep <= 1:
            assert shares.tolist() == pytest.approx((keep * weights).tolist(), rel=1e-12)
    for weights in ([0.9, 0.06, 0.03, 0.01, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0]):
        assert float(shares_of(torch.tensor(weights), keep).sum()) == pytest.approx(keep, rel=1e-6)
    assert shares_of(torch.tensor([0.9, 0.06, 0.04]), 2).tolist() == pytest.approx([1, 0.6, 0.4])
    assert shares_of(torch.tensor([1.0, 0.0, 0.0]), 2).tolist() == pytest.approx([1, 0.5, 0.5])


def test_the_gradient_of_filled_shares_is_that_of_finite_differences():
    logits = torch.tensor([3.0, 0.2, -0.5, 0.4], dtype=torch.float64, requires_grad=True)
    assert shares_of(torch.softmax(logits, dim=0), 2)[0] == 1  # one of them is full
    assert torch.autograd.gradcheck(lambda x: shares_of(torch.softmax(x, dim=0), 2), logits)
    certain = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    shares_of(certain, 2).sum().backward()
    assert certain.grad.isfinite().all()


def weighted_path(space, genotype):
    """Its path in float64, and each edge weighted so that the k-th best of a node has a thousandth of the one before.

    Weights of edges that are not kept go to 0 faster than those of the kept ones.
    """
    path = {name: weights.double() for name, weights in space.path_of(genotype).items()}
    for name in ("normal", "reduce"):
        taken = path[name].sum(dim=1)
        for place, rows in enumerate(space.choices[name].rows_of_node.values()):
            order = sorted(range(len(rows)), key=lambda i, rows=rows: (-taken[rows[i]], rows[i]))
            weights = torch.zeros(len(rows), dtype=torch.float64)
            for rank, index in enumerate(order):
                weights[index] = 1e-3 ** (rank if rank < 2 else 5 * rank)
            path[f"{name}_edge"][place] = 0
            path[f"{name}_edge"][place, : len(rows)] = weights / weights.sum()
    return path


def test_almost_certain_edges_and_options_cost_what_the_derived_network_costs():
    """The second edge of a node counts as one, however little it weighs beside the first, and `none` never counts."""
    space, sizes = build_space("darts").variant(edge_weights=True), {"init_channels": 4, "layers": 3}
    macs = costs_of(space, sizes).table("macs")
    genotype = space.genotype_of(space.sample(seeded(3), False))
    exact = count_macs(space.network(genotype, num_classes=3, **sizes), 3, SIZE)
    for share in (0.0, 0.5, 0.9, 1 - 1e-12):
        path = weighted_path(space, genotype)
        for name in ("normal", "reduce"):
            path[name] *= 1 - share
            path[name][:, space.choices[name].options[0].index("none")] = share
        assert float(macs.expected(space.choices, path, {})) == pytest.approx(exact, rel=1e-6)


def test_probability_that_moves_to_none_changes_nothing():
    space = build_space("darts")
    macs = costs_of(space, {"init_channels": 4, "layers": 3}).table("macs")
    mixing = random_mixing(space)
    before = float(macs.expected(space.choices, mixing, {}))
    none = space.choices["normal"].options[0].index("none")
    for weights in mixing.values():
        weights *= 0.3
        weights[:, none] += 1 - weights.sum(dim=1)
    assert float(macs.expected(space.choices, mixing, {})) == pytest.approx(before, rel=1e-12)
    logits = torch.zeros_like(mixing["normal"], requires_grad=True)
    macs.expected(space.choices, {**mixing, "normal": torch.softmax(logits, dim=1)}, {}).backward()
    assert logits.grad[:, none].abs().max() < 1e-9 * logits.grad.abs().max()
    nothing = {name: torch.zeros_like(weights, requires_grad=True) for name, weights in mixing.items()}
    removed = macs.expected(space.choices, nothing, {})
    assert removed.item() == macs.fixed
    removed.backward()
    assert all(weights.grad.isfinite().all() for weights in nothing.values())


def test_where_genotypes_may_hold_none_it_costs_nothing():
    space = NasBench201Space()
    macs = costs_of(space, {"init_channels": 4, "layers": 1}).table("macs")
    mixing = random_mixing(space)
    (name,) = mixing
    plain = macs.fixed + float((mixing[name] * macs.options[name]).sum())
    assert float(macs.expected(space.choices, mixing, {})) == pytest.approx(plain, rel=1e-12)


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
