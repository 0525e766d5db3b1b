"""The space of point clouds: its counts are those of the released code, and its networks see sets of points.

The tests reach `PointSupernet`, `PointNetwork` and `PointBody` through the space, as runs do.
"""

import copy

import pytest
import torch

from cases import random_genotype, random_mixing, seeded, space_config
from nas_lightning.core import draws
from nas_lightning.core.batches import Graphs
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.functional import count_parameters
from nas_lightning.core.genotypes import Genotype
from nas_lightning.points import GraphSpace, PointSpace
from nas_lightning.points.neighbours import nearest
from nas_lightning.spaces.published import PUBLISHED

SMALL = {"embedding": 16, "hidden": [8], "neighbours": 4}


def space(**changes):
    return PointSpace(**{**space_config("points"), **changes})


def clouds(batch=3, points=16, seed=0):
    return torch.randn(batch, 3, points, generator=seeded(seed), dtype=torch.float64)


def graphs(features, nodes=14):
    """Two graphs, the second with a node without edges."""
    x = torch.randn(nodes, features, generator=seeded(1), dtype=torch.float64)
    edges = torch.tensor([[0, 1, 2, 3, 5, 8, 9, 10], [1, 0, 3, 2, 4, 9, 10, 8]])
    return Graphs(x, edges, torch.tensor([8, nodes - 8]))


def tiny(one, seed=0, **sizes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return one.supernet(**{"num_classes": 5, "init_channels": 4, "layers": 2, **sizes}).double()


def test_nine_rows_of_ten_options_and_two_edges_a_node():
    (choice,) = space().choices.values()
    assert (choice.name, choice.num_rows, choice.num_options, choice.keep) == ("cell", 9, 10, 2)
    assert space().count() == 9**6 * 1 * 3 * 6  # two of two, of three and of four edges, nine operations each


def test_the_supernet_has_the_parameters_of_the_released_one():
    assert count_parameters(space().supernet()) == 1_827_178


@pytest.mark.parametrize(
    ("name", "large", "small"),
    [
        ("sgas_modelnet_cri1", 8_634_280, 3_904_936),
        ("sgas_modelnet_cri2", 8_491_432, 3_857_320),
        ("sgas_modelnet_random", 8_786_344, 3_955_624),
    ],
)
def test_networks_of_published_genotypes_have_the_parameters_of_the_released_ones(name, large, small):
    with torch.device("meta"):
        counts = [count_parameters(space().network(PUBLISHED[name], layers=layers)) for layers in (9, 3)]
    assert counts == [large, small]


def test_outputs_do_not_depend_on_the_order_of_the_points():
    one = space(**SMALL)
    order = torch.randperm(16, generator=seeded(3))
    x = clouds()
    network = one.network(random_genotype(one), 5, init_channels=4, layers=2).double().eval()
    torch.testing.assert_close(network(x), network(x[..., order]), rtol=1e-12, atol=1e-12)
    net, mixing = tiny(one).eval(), random_mixing(one)
    torch.testing.assert_close(net(x, mixing), net(x[..., order], mixing), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["points", "graphs"])
def test_the_supernet_on_a_path_is_the_network_of_that_path(kind):
    """With the same weights, drawn by place: both call the same operations around the same stem and head."""
    one = space(**SMALL) if kind == "points" else GraphSpace(**space_config("graphs"))
    inputs = clouds() if kind == "points" else graphs(3)
    path = one.path_of(random_genotype(one, avoid="none"))
    genotype = one.genotype_of(path)
    net = tiny(one, layers=3, in_channels=3).eval()
    network = one.network(genotype, 5, 3, init_channels=4, layers=3).double().eval()
    for part in ("stem", "head"):
        getattr(network.body, part).load_state_dict(getattr(net.body, part).state_dict())
    (choice,) = one.choices.values()
    for ours, theirs in zip(network.body.cells, net.body.cells, strict=True):
        ours.inputs.load_state_dict(theirs.inputs.state_dict())
        for operation, (node, op, source) in zip(ours.operations, genotype.cells["cell"], strict=True):
            (row,) = (r for r in range(9) if (choice.nodes[r], choice.sources[r]) == (node, source))
            operation.load_state_dict(theirs.edges[row].operations[choice.options[row].index(op)].state_dict())
    active = {name: table > 0 for name, table in path.items()}
    expected = network(inputs)
    for given in (None, active):
        found = net(inputs, {name: table.double() for name, table in path.items()}, given)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_the_second_input_is_part_of_every_output():
    one = space(**SMALL)
    body = one.network(random_genotype(one), init_channels=4, layers=1).double().eval().body
    cell = body.cells[0]
    x = torch.randn(2, 12, 16, 1, generator=seeded(0), dtype=torch.float64)
    y = cell(x, x, one.structure.links(None, 0, x), 0.0)
    assert y.shape == (2, 4 * 4, 16, 1)
    torch.testing.assert_close(y[:, :4], cell.inputs.last(x))


def test_neighbours_are_taken_from_the_input_before_the_last_with_the_dilation_of_the_cell():
    one = space(**SMALL)
    body = one.network(random_genotype(one), init_channels=4, layers=2).eval().body
    seen = []

    def call(cell, before, last, links):
        seen.append((before, links))
        return cell(before, last, links, 0.0)

    body(clouds().float(), call)
    stem = seen[0][0]
    assert torch.equal(seen[1][0], stem)  # the second cell, too, has the stem before its last input
    for (before, links), dilation in zip(seen, (1, 2), strict=True):
        assert torch.equal(links, nearest(before, 4, dilation))


def test_dropout_behind_dense_layers_is_a_named_draw():
    one = space(**SMALL)
    net, mixing = tiny(one), random_mixing(one)

    def outputs(name):
        with draws.keyed(0, 1, name):
            return copy.deepcopy(net)(clouds(), mixing)

    assert torch.equal(outputs("a"), outputs("a"))
    assert not torch.allclose(outputs("a"), outputs("b"))


def test_a_batch_of_one_cloud_trains_by_the_running_statistics_of_the_head():
    one = space(**SMALL)
    net = tiny(one)
    net(clouds(1), random_mixing(one)).sum().backward()
    assert torch.equal(net.body.head.layers[0][2].running_mean, torch.zeros(8, dtype=torch.float64))


def test_partial_channels_and_weights_of_edges_are_offered():
    one = space(**SMALL).variant(partial_channels=2, edge_weights=True)
    assert list(one.choices) == ["cell", "cell_edge"]
    net, mixing = tiny(one), random_mixing(one)
    assert net.body.cells[0].edges[0].edge.channels == 2
    one_edge = {**mixing, "cell_edge": torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]).double()}
    assert net(clouds(), mixing).shape == (3, 5)
    net.eval()
    moved = {**one_edge, "cell": mixing["cell"].clone()}
    moved["cell"][1] = mixing["cell"][1].flip(0)  # an edge of weight 0
    torch.testing.assert_close(net(clouds(), one_edge), net(clouds(), moved))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: space(operations=["gat", "gat"]), r"space\.operations=\['gat', 'gat'\]: contains duplicates"),
        (lambda: space(operations=["conv_3x3"]), "unknown operation conv_3x3; allowed: none, skip_connect"),
        (lambda: space(operations=["none"]), "none but none given"),
        (lambda: space().supernet(engine="slow"), "engine=slow"),
        (lambda: space().variant(partial_channels=3).supernet(init_channels=4), r"partial_channels\.divisor=3"),
        (lambda: space().network(PUBLISHED["sgas_modelnet_cri1"], auxiliary=True), "evaluation.auxiliary=0"),
        (
            lambda: space().structure.check_points(32, 4, "search"),
            r"search\.layers=4: the last cell looks at the 36 nearest .* have 32; use at most search\.layers=3",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(call, message):
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_genotype_that_leaves_a_node_out_of_the_output_is_refused():
    found = PUBLISHED["sgas_modelnet_cri2"]
    with pytest.raises(GenotypeError, match=r"joins nodes \[2, 3\]; allowed: \[2, 3, 4\]"):
        space().validate(Genotype("points", found.cells, {"cell": (2, 3)}))
    space().validate(found)


def test_operations_of_networks_are_placed_by_the_rows_of_the_choice():
    one = space(**SMALL)
    genotype = random_genotype(one)
    placed = one.placed_operations(one.network(genotype, init_channels=4, layers=2), genotype)
    path = one.path_of(genotype)["cell"]
    assert sorted(row for _, row in placed) == path.sum(1).nonzero().flatten().tolist()
    assert {len(modules) for modules in placed.values()} == {2}
