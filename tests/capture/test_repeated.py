"""A function that is called many times in a row: eagerly, captured, then replayed."""

import pytest
import torch
from torch.nn import functional as F

from cases import build_space, images, random_mixing, tiny_supernet
from nas_lightning.capture.graphs import CaptureError, graphs_on, stand_in
from nas_lightning.capture.repeated import Repeated
from nas_lightning.curvature import measure


@pytest.fixture
def graphs():
    with stand_in():
        return graphs_on(torch.device("cpu"))


def vectors(seed):
    return [torch.randn(3, generator=torch.Generator().manual_seed(seed + k)) for k in range(2)]


def test_every_call_is_that_of_eager_code(graphs):
    matrix, runs = torch.randn(3, 3, generator=torch.Generator().manual_seed(9)), []

    def function(given):
        runs.append(given)
        return [matrix @ given[0], None, given[1] * 2]

    repeated = Repeated(function, graphs)
    found = [repeated(vectors(seed)) for seed in range(4)]
    for seed, (first, nothing, second) in enumerate(found):
        a, b = vectors(seed)
        assert nothing is None
        assert torch.equal(first, matrix @ a)
        assert torch.equal(second, b * 2)
    assert len({id(given) for given in runs[1:]}) == 1, "one static list of tensors from the second call on"


def test_the_outputs_are_in_memory_of_their_own(graphs):
    repeated = Repeated(lambda given: [given[0] + 1], graphs)
    kept = [repeated([torch.full((2,), float(k))])[0] for k in range(4)]
    assert [x.tolist() for x in kept] == [[k + 1.0] * 2 for k in range(4)]


def test_what_reads_the_device_is_refused(graphs):
    repeated = Repeated(lambda given: [given[0] * given[0].sum().item()], graphs)
    repeated([torch.ones(2)])
    with pytest.raises(CaptureError, match="reads the device"):
        repeated([torch.ones(2)])


def test_a_measurement_by_graphs_is_that_of_eager_code(graphs):
    """A quartic of 12 parameters, whose Hessian is not constant."""
    basis = torch.randn(12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    arch = {"a": torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)}

    def loss(arch):
        return ((basis @ arch["a"].flatten()) ** 4).sum()

    eager, graphed = measure(loss, arch), measure(loss, arch, graphs=graphs)
    assert eager == graphed
    assert eager.products > 3
    y = basis @ arch["a"].flatten()
    dense = 12 * basis.T @ torch.diag(y**2) @ basis
    assert eager.value == pytest.approx(torch.linalg.eigvalsh(dense)[-1].item(), rel=1e-4)


def test_the_curvature_of_a_supernet(graphs):
    space = build_space("s3")
    net = tiny_supernet(space, layers=1)
    arch = {name: weights.log() for name, weights in random_mixing(space).items()}
    labels = torch.tensor([0, 1, 2, 0])

    def loss(arch):
        return F.cross_entropy(net(images(), {name: a.softmax(-1) for name, a in arch.items()}), labels)

    eager, graphed = measure(loss, arch, net), measure(loss, arch, net, graphs=graphs)
    assert eager == graphed
    assert eager.products >= 10
