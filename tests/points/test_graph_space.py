"""The space of graphs: its choices, its head, and networks that see nodes and edges, not their order.

That the supernet on a path is the network of that path is tested with point clouds, which share both.
"""

import pytest
import torch

from cases import random_genotype, random_mixing, seeded, space_config
from nas_lightning.core.batches import Graphs
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.points import GraphSpace
from nas_lightning.points.body import GraphStructure, NodeHead
from nas_lightning.spaces.published import PUBLISHED

FEATURES, LABELS = 5, 3
FIRST = torch.tensor([[0, 1, 2, 3, 4], [1, 0, 0, 2, 3]])
SECOND = torch.tensor([[0, 2, 1], [1, 1, 0]])


def graph_space(**changes):
    return GraphSpace(**{**space_config("graphs"), **changes})


def two_graphs():
    x = torch.randn(10, FEATURES, generator=seeded(0), dtype=torch.float64)
    return Graphs(x, torch.cat([FIRST, SECOND + 6], dim=1), torch.tensor([6, 4]))


def networks(one):
    """A network and the supernet, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = one.network(random_genotype(one), LABELS, FEATURES, init_channels=4, layers=2).double().eval()
        supernet = one.supernet(LABELS, FEATURES, init_channels=4, layers=2).double().eval()
    mixing = random_mixing(one)
    return network, lambda graphs: supernet(graphs, mixing)


def test_the_choice_is_that_of_point_clouds():
    (choice,) = graph_space().choices.values()
    assert (choice.name, choice.num_rows, choice.num_options, choice.keep) == ("cell", 9, 10, 2)
    assert graph_space().count() == 9**6 * 1 * 3 * 6


def test_a_batch_of_two_graphs_is_computed_as_either_alone():
    both = two_graphs()
    for net in networks(graph_space()):
        apart = [
            net(Graphs(both.x[:6], FIRST, torch.tensor([6]))),
            net(Graphs(both.x[6:], SECOND, torch.tensor([4]))),
        ]
        torch.testing.assert_close(net(both), torch.cat(apart), rtol=1e-12, atol=1e-12)


def test_labels_follow_a_permutation_of_the_nodes_and_not_that_of_the_edges():
    both = two_graphs()
    place = torch.randperm(10, generator=seeded(4))
    x = torch.empty_like(both.x)
    x[place] = both.x
    moved = Graphs(x, place[both.edge_index].flip(1), both.sizes)
    for net in networks(graph_space()):
        torch.testing.assert_close(net(moved)[place], net(both), rtol=1e-12, atol=1e-12)


def test_a_node_sees_as_far_as_its_cells_reach_along_the_edges():
    """A chain 0 → 1 → … → 5: of one cell of three convolutions in a row, node 3 sees node 0, and node 4 does not."""
    edges = [(2, "gin", 0), (2, "gin", 1), (3, "gin", 1), (3, "gin", 2), (4, "gin", 2), (4, "gin", 3)]
    genotype = Genotype("graphs", {"cell": tuple(edges)}, {"cell": (2, 3, 4)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = graph_space().network(genotype, LABELS, FEATURES, init_channels=8, layers=1).double().eval()
    x = torch.randn(6, FEATURES, generator=seeded(5), dtype=torch.float64).requires_grad_()
    chain = torch.stack([torch.arange(5), torch.arange(1, 6)])
    logits = net(Graphs(x, chain, torch.tensor([6])))
    reach = [float(torch.autograd.grad(logits[node].sum(), x, retain_graph=True)[0][0].abs().sum()) for node in (3, 4)]
    assert reach[0] > 0
    assert reach[1] == 0


def test_the_head_reads_the_last_cell_and_its_mean():
    body = graph_space().network(random_genotype(graph_space()), LABELS, FEATURES, init_channels=4, layers=1).body
    assert isinstance(body.head, NodeHead)
    assert isinstance(graph_space().structure, GraphStructure)
    body.double().eval()
    rows = []

    def call(cell, *given):
        rows.append(cell(*given, 0.0))
        return rows[-1]

    logits = body(two_graphs(), call)
    last = rows[0][:, :, 0, 0]
    weight, bias = body.head.classifier.weight, body.head.classifier.bias
    assert weight.shape == (LABELS, 4 * 4 + 1)
    expected = last @ weight[:, 1:].t() + last.mean(1)[:, None] * weight[:, 0] + bias
    torch.testing.assert_close(logits, expected)


def test_published_genotypes_belong_to_the_space_and_not_to_that_of_points():
    for name in ("sgas_ppi_cri1", "sgas_ppi_cri2", "sgas_ppi_random"):
        graph_space().validate(PUBLISHED[name])
        assert PUBLISHED[name].space == "graphs"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: graph_space(operations=["gat", "gat"]), ConfigError, r"\['gat', 'gat'\]: contains duplicates"),
        (lambda: graph_space(operations=["gcn"]), ConfigError, "unknown operation gcn; allowed: none, skip_connect"),
        (
            lambda: graph_space().network(PUBLISHED["sgas_ppi_cri1"], auxiliary=True),
            ConfigError,
            r"space=graphs: networks of graph convolutions have no auxiliary head; use evaluation\.auxiliary=0",
        ),
        (lambda: graph_space().network(PUBLISHED["sdarts_rs_rnn"]), GenotypeError, "does not belong to space 'graphs'"),
    ],
)
def test_what_no_network_of_graphs_can_be_built_of_is_refused(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
