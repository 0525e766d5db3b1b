"""The mixing weights of a genotype: the way back from them is the space's own."""

import pytest
import torch

from cases import BLOCK_SPACES, block_space
from nas_lightning.analyses import discrete_mixing
from nas_lightning.core.modules import CONV_1, CONV_3, MAX_POOL
from nas_lightning.spaces import CellSpace, Genotype
from nas_lightning.spaces.nasbench201 import NasBench201Space

OPTIONS = ("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3")


def edges_of(genotype):
    return {name: sorted(edges) for name, edges in genotype.cells.items()}


@pytest.mark.parametrize("space", [CellSpace("s3", OPTIONS, num_nodes=3), NasBench201Space()], ids=lambda s: s.name)
def test_a_genotype_comes_back(space):
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        scores = {
            name: torch.rand(choice.num_rows, choice.num_options, generator=generator)
            for name, choice in space.choices.items()
        }
        genotype = space.genotype(scores)
        mixing, active = discrete_mixing(genotype, space)
        assert edges_of(space.genotype_of(mixing)) == edges_of(genotype)
        for name, weights in mixing.items():
            assert set(weights.flatten().tolist()) == {0.0, 1.0}
            assert torch.equal(active[name], weights == 1)


def test_kept_edges_weigh_one_and_dropped_ones_are_gone():
    space = CellSpace("s3", OPTIONS[1:], num_nodes=2, keep=1).variant(edge_weights=True, partial_channels=2)
    scores = {name: torch.zeros(choice.num_rows, choice.num_options) for name, choice in space.choices.items()}
    scores["normal"][:, 1] = 1.0
    scores["normal_edge"][:] = torch.tensor([[0.1, 0.9, 0.0], [0.2, 0.1, 0.7]])
    mixing, active = discrete_mixing(space.genotype(scores), space)
    assert mixing["normal"].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert mixing["normal_edge"].tolist() == [[0, 1, 0], [0, 0, 1]]
    assert set(active) == {"normal", "reduce"}
    torch.manual_seed(0)
    supernet = space.supernet(3, 1, init_channels=4, layers=3).eval()
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        outputs = supernet(images, mixing, active)
        for edge in (0, 2, 3):  # their operations, bypass included, do not matter
            for operation in supernet.cells[0].edges[edge].operations:
                for weight in operation.parameters():
                    weight.fill_(torch.nan)
        assert torch.equal(supernet(images, mixing, active), outputs)


def test_blocks_take_their_operation_and_their_parents():
    space = block_space("nasbench1shot1_1")
    taken = {"ops": [CONV_1, MAX_POOL, CONV_3, CONV_1], "inputs": {"3": [0, 2], "4": [1, 3]}, "output": [2, 4]}
    mixing, active = discrete_mixing(Genotype(space.name, choices=taken), space)
    expected = {
        "ops": [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "output": [[0, 0, 1, 0, 1]],
        "inputs": [[1, 0, 1, 0], [0, 1, 0, 1]],
    }
    assert {name: weights.tolist() for name, weights in mixing.items()} == expected
    assert {name: allowed.tolist() for name, allowed in active.items()} == expected


@pytest.mark.parametrize("name", BLOCK_SPACES)
def test_a_supernet_of_blocks_computes_what_is_taken_alone(name):
    space = block_space(name)
    mixing, active = discrete_mixing(space.genotype_of(space.sample(torch.Generator().manual_seed(0))), space)
    torch.manual_seed(0)
    supernet = space.supernet(3, 1, init_channels=4, layers=1).eval()
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        outputs = supernet(images, mixing, active)
        torch.testing.assert_close(outputs, supernet(images, mixing))
        assert outputs.std() > 0
        for cell in supernet.cells:
            for block, taken in enumerate(active["ops"].tolist()):
                left_out = [op for op, kept in zip(cell.edges[block].operations, taken, strict=True) if not kept]
                for weight in (weight for operation in left_out for weight in operation.parameters()):
                    weight.fill_(torch.nan)
        assert torch.equal(supernet(images, mixing, active), outputs)
