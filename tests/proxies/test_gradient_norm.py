"""Gradient norm and SNIP: closed forms, and the gradient by hand in float64."""

import pytest
import torch
from torch import nn

from nas_lightning.proxies import GradientNorm, Sample, Snip


class Two(nn.Module):
    """Two layers with a normalisation, and a matrix that the loss does not depend on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.idle = nn.Parameter(torch.randn(2, 2))
        self.double()

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x))))


@pytest.fixture
def net():
    return Two()


@pytest.fixture
def sample():
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(6, 5, generator=rng, dtype=torch.float64)
    return Sample(x, torch.randint(0, 3, (6,), generator=rng), nn.functional.cross_entropy, x[:1])


def by_hand(net, sample):
    """∂L/∂W of both layers, by the chain rule written out."""
    w1, b1, w2 = net.first.weight.detach(), net.first.bias.detach(), net.last.weight.detach()
    z = sample.inputs @ w1.T + b1
    std = (z.var(0, correction=0) + net.norm.eps).sqrt()
    y = (z - z.mean(0)) / std
    h = y.clamp(min=0)
    p = torch.softmax(h @ w2.T + net.last.bias.detach(), 1)
    delta = (p - nn.functional.one_hot(sample.targets, 3)) / len(z)
    dy = (delta @ w2) * (y > 0)
    dz = (dy - dy.mean(0) - y * (dy * y).mean(0)) / std
    return dz.T @ sample.inputs, delta.T @ h


def test_by_hand(net, sample):
    first, last = by_hand(net, sample)
    assert GradientNorm()(net, sample) == pytest.approx(float(first.norm() + last.norm()), rel=1e-12)
    expected = ((net.first.weight * first).abs().sum() + (net.last.weight * last).abs().sum()).detach()
    assert Snip()(net, sample) == pytest.approx(float(expected), rel=1e-12)


def test_one_linear_layer():
    """L = mean of w·x over the batch: the gradient is the mean image, whatever the weights."""
    net = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[2.0, -5.0]]))
    x = torch.tensor([[1.0, 4.0], [5.0, 4.0]], dtype=torch.float64)
    sample = Sample(x, torch.zeros(2), lambda outputs, _: outputs.mean(), x[:1])
    assert GradientNorm()(net, sample) == pytest.approx(5.0, rel=1e-14)  # of (3, 4)
    assert Snip()(net, sample) == pytest.approx(2 * 3 + 5 * 4, rel=1e-14)


@pytest.mark.parametrize("proxy", [GradientNorm(), Snip()])
def test_the_network_is_as_before(net, sample, proxy):
    net.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():  # the caller may have switched gradients off
        proxy(net, sample)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
