from itertools import pairwise

import pytest
import torch

from cases import seeded
from nas_lightning import count_parameters
from nas_lightning.analyses import VGG, ResNet, equal_pairs, swapped


def test_published_size():
    """ResNet-56 of He et al. has 853,018 parameters; two 1×1 shortcuts with normalisation come on top."""
    extra = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    assert count_parameters(ResNet(10, 3, 32, channels=16, depth=9)) == 853_018 + extra


def test_vgg_is_its_convolutions():
    widths = [3, 16, *[16] * 3, *[32] * 3, *[64] * 3]  # the stem, then three layers a stage
    convolutions = sum(9 * a * b + 2 * b for a, b in pairwise(widths))
    assert count_parameters(VGG(10, 3, 32, channels=16, depth=3)) == convolutions + 64 * 10 + 10


@pytest.mark.parametrize("network", [ResNet, VGG])
@pytest.mark.parametrize(("size", "last"), [(4, 1), (8, 2), (32, 8), (64, 16), (96, 6)])
def test_resolutions(network, size, last):
    built = network(5, 1, size, channels=4, depth=3)
    seen = []
    built.stages[-1].register_forward_hook(lambda module, inputs, y: seen.append(y.shape))
    assert built(torch.zeros(2, 1, size, size)).shape == (2, 5)
    assert seen == [(2, 16, last, last)]


@pytest.mark.parametrize("network", [ResNet, VGG])
def test_all_but_the_first_of_a_later_stage_are_alike(network):
    built = network(5, 1, 8, channels=4, depth=3).eval()
    pairs = [equal_pairs([unit.shape for unit in stage]) for stage in built.stages]
    assert pairs == [[(0, 1), (0, 2), (1, 2)], [(1, 2)], [(1, 2)]]
    x = torch.randn(3, 1, 8, 8, generator=seeded(0))
    before = built(x)
    for stage, possible in zip(built.stages, pairs, strict=True):
        for pair in possible:
            with swapped(stage, *pair):
                assert not torch.allclose(built(x), before)
    assert torch.equal(built(x), before)


def test_a_block_without_convolutions_is_its_shortcut():
    built = ResNet(5, 1, 8, channels=4, depth=3).eval()
    block = built.stages[0][1]
    torch.nn.init.zeros_(block.convolutions[4].weight)
    x = torch.rand(2, 4, 8, 8, generator=seeded(0))
    assert torch.equal(block(x), x)
