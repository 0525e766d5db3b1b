"""Predictors: numbers of parameters, invariance under isomorphism, a dense reference in float64."""

import pytest
import torch
from torch import nn

from cases import block_space, build_space
from nas_lightning.core import draws
from nas_lightning.core.genotypes import Genotype
from nas_lightning.proposers.encodings import one_hot
from nas_lightning.proposers.networks import Ensemble, GraphEncoder, Graphs, GraphScorer, initialised
from nas_lightning.spaces import NasBench201Space

SPACE = NasBench201Space()
ONE = "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"
TWIN = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
OTHER = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"
"""Nodes 1 and 2 of the first are swapped in the second; the third has the same operations, linked otherwise."""


def cells(*texts):
    return [Genotype.from_arch_str(text) for text in texts]


def sampled(space, number):
    return [space.genotype_of(space.sample(draws.seeded_generator(0, i), none=False)) for i in range(number)]


@pytest.mark.parametrize(("space", "parameters"), [(SPACE, 120_724), (build_space("darts"), 121_236)])
def test_encoders_have_the_parameters_of_the_released_one(space, parameters):
    encoder = GraphEncoder(len(space.graph_labels()))
    assert sum(p.numel() for p in encoder.parameters()) == parameters


def test_isomorphic_cells_are_equal_for_the_graph_network_only():
    with initialised(0):
        module = GraphScorer(len(SPACE.graph_labels()), 1).double().eval()
        perceptron = Ensemble(30, (64,))
    one, twin, other = module(Graphs.of(SPACE, cells(ONE, TWIN, OTHER)))[0].tolist()
    assert one == pytest.approx(twin, rel=1e-12)
    assert abs(one - other) > 1e-6
    scores = perceptron(one_hot(SPACE, cells(ONE, TWIN)))[0]
    assert abs(scores[0] - scores[1]) > 1e-4


def dense(encoder, graph, labels):
    """One graph by its adjacency matrix, batch norm by its running statistics."""
    h = torch.stack([torch.tensor([float(label == one) for one in labels]) for label in graph.labels]).double()
    adjacency = torch.zeros(len(graph.labels), len(graph.labels), dtype=torch.float64)
    for a, b in graph.links:
        adjacency[a, b] += 1
    adjacency = adjacency + adjacency.T
    for update in encoder.updates:
        h = torch.relu(update.mlp((1 + update.epsilon) * h + adjacency @ h))
    return encoder.out(h).sum(0)


@pytest.mark.parametrize("space", [SPACE, build_space("s1"), block_space("nasbench1shot1_1")], ids=lambda s: s.name)
def test_graphs_side_by_side_are_as_one_by_one(space):
    genotypes = sampled(space, 5)
    with initialised(1):
        encoder = GraphEncoder(len(space.graph_labels()), width=8, outputs=3).double()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.3)
    encoder.updates[0].epsilon.data.fill_(0.7)
    encoder.eval()
    graphs = Graphs.of(space, genotypes)
    expected = torch.stack(
        [
            torch.stack([dense(encoder, graph, space.graph_labels()) for graph in space.graphs(one).values()])
            for one in genotypes
        ]
    )
    torch.testing.assert_close(encoder(graphs), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(encoder(graphs[1:4]), expected[1:4], rtol=1e-10, atol=1e-12)
    assert len(graphs[1:4]) == 3


def test_an_ensemble_is_perceptrons_side_by_side():
    with initialised(2):
        ensemble = Ensemble(4, (6, 5), members=3).double()
    inputs = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for shared in (False, True):
        found = ensemble(inputs[0] if shared else inputs)
        for member in range(3):
            h = inputs[0 if shared else member]
            for layer in range(3):
                h = h @ ensemble.weights[layer][member] + ensemble.biases[layer][member]
                h = torch.relu(h) if layer < 2 else h
            torch.testing.assert_close(found[member], h[:, 0])


def test_initialising_by_a_key_leaves_the_global_generator():
    before = torch.random.get_rng_state()
    with initialised(3, "x"):
        one = Ensemble(3, (2,))
    with initialised(3, "x"):
        two = Ensemble(3, (2,))
    assert torch.equal(one.weights[0], two.weights[0])
    assert torch.equal(torch.random.get_rng_state(), before)
