"""The neutral hooks change nothing."""

import torch
from torch import nn

from cases import build_space, images, random_mixing, tiny_supernet
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import EdgeInfo

EDGE = EdgeInfo("normal", cell=0, row=0, source=0, node=2, stride=1, channels=4)


def test_every_hook_is_neutral():
    hooks, space, y = Regularizer(), build_space("s2"), images()
    kept = y.clone()
    assert isinstance(hooks, Regularizer)
    assert hooks.build(space) is space
    assert hooks.on_op(y, "skip_connect", EDGE) is y
    assert hooks.on_edge(y, y, EDGE) is y
    assert torch.equal(y, kept)
    assert hooks.at_epoch(3) is None
    assert list(hooks.parameters()) == []


def test_a_supernet_with_neutral_hooks_is_the_supernet_without():
    space = build_space("s1")
    supernet, mixing = tiny_supernet(space), random_mixing(space)
    expected = supernet(images(), mixing)
    supernet.attach((Regularizer(), Regularizer()))
    assert torch.equal(supernet(images(), mixing), expected)


def test_a_learnable_part_gives_its_parameters_whatever_the_order_of_its_bases():
    class Learnable(Regularizer, nn.Module):
        def __init__(self):
            super().__init__()
            self.sigma = nn.Parameter(torch.ones(()))

    part = Learnable()
    assert list(part.parameters()) == [part.sigma]
