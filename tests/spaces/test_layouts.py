"""Memory layouts on a GPU, looked at without one: fake tensors know device and layout, not their numbers."""

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from cases import build_space, pooling
from nas_lightning.spaces import NasBench201Space

SPACES = {"darts": lambda: build_space("darts"), "s1": lambda: build_space("s1"), "nasbench201": NasBench201Space}


class PaddedPools(TorchDispatchMode):
    """Whether each average pool with padding reads a contiguous image of a GPU."""

    def __init__(self):
        super().__init__()
        self.contiguous = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "aten.avg_pool2d" in str(function) and any(args[3:4] and args[3]):
            self.contiguous.append(args[0].is_contiguous() and args[0].is_cuda)
        return function(*args, **(kwargs or {}))


def padded_pools(make, layout):
    """What `PaddedPools` sees of a network that `make` makes, on images of a layout."""
    with FakeTensorMode(allow_non_fake_inputs=True), PaddedPools() as pools, torch.device("cuda"):
        make()(torch.empty(2, 3, 8, 8).contiguous(memory_format=layout))
    assert pools.contiguous
    return pools.contiguous


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize(
    "space", ["nasbench201", *(pytest.param(name, marks=pytest.mark.slow) for name in ("darts", "s1"))]
)
def test_padded_average_pools_of_supernets(space, engine, layout):
    """The gradient of CUDA's kernel for channels_last is wrong there (torch 2.11; pytorch's issue 188344)."""
    space = SPACES[space]()
    lists = {name: choice.mask.tolist() for name, choice in space.choices.items()}
    shapes = {name: choice.mask.shape for name, choice in space.choices.items()}

    def make():
        net = space.supernet(3, init_channels=4, layers=1, engine=engine)
        active = {name: SimpleNamespace(tolist=lambda rows=rows: rows) for name, rows in lists.items()}
        return lambda x: net(x, {name: torch.rand(shape) for name, shape in shapes.items()}, active)

    assert all(padded_pools(make, layout))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("space", SPACES)
def test_padded_average_pools_of_networks(space, layout):
    space = SPACES[space]()
    genotype = space.genotype(pooling(space))
    assert all(padded_pools(lambda: space.network(genotype, 3, init_channels=4, layers=1), layout))
