"""SynFlow: conservation in a chain, closed forms, and the network is left as it was."""

import math

import pytest
import torch
from torch import nn

from nas_lightning.proxies import Sample, Synflow


def sample(*shape):
    inputs = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    return Sample(inputs, torch.zeros(4, dtype=torch.long), nn.functional.cross_entropy, inputs[:1])


def seeded(*layers):
    torch.manual_seed(1)
    return nn.Sequential(*(make() for make in layers))


def test_the_flow_is_conserved_in_every_layer_of_a_chain():
    """R by hand: the product of positive matrices, without autograd."""
    chain = seeded(
        lambda: nn.Linear(7, 5, bias=False), nn.ReLU, lambda: nn.Linear(5, 6, bias=False), nn.ReLU,
        lambda: nn.Linear(6, 3, bias=False),
    )  # fmt: skip
    flow = torch.ones(7, dtype=torch.float64)
    for layer in (chain[0], chain[2], chain[4]):
        flow = layer.weight.detach().double().abs() @ flow
    proxy = Synflow()
    layers = proxy.by_weight(chain, sample(7))
    assert layers == pytest.approx([float(flow.sum())] * 3, rel=1e-14)
    assert proxy(chain, sample(7)) == pytest.approx(3 * float(flow.sum()), rel=1e-14)


def test_convolutions_conserve_it_too():
    chain = seeded(
        lambda: nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU, lambda: nn.Conv2d(4, 4, 3, stride=2, bias=False),
        nn.ReLU, lambda: nn.Conv2d(4, 2, 1, bias=False),
    )  # fmt: skip
    first, second, third = Synflow().by_weight(chain, sample(3, 8, 8))
    assert (second, third) == pytest.approx((first, first), rel=1e-14)
    positive = [layer.weight.detach().double().abs() for layer in (chain[0], chain[2], chain[4])]
    x = torch.ones(1, 3, 8, 8, dtype=torch.float64)
    for weight, (stride, padding) in zip(positive, ((1, 1), (2, 0), (1, 0)), strict=True):
        x = nn.functional.conv2d(x, weight, stride=stride, padding=padding)
    assert first == pytest.approx(float(x.sum()), rel=1e-14)


def test_biases_pass_signal_but_have_no_score():
    chain = seeded(lambda: nn.Linear(4, 3), nn.ReLU, lambda: nn.Linear(3, 2))
    first, last = (chain[place].weight.detach().double().abs() for place in (0, 2))
    bias = chain[0].bias.detach().double().abs()
    inner, hidden = first.sum(1), first.sum(1) + bias
    expected = [float((last @ inner).sum()), float((last @ hidden).sum())]
    assert Synflow().by_weight(chain, sample(4)) == pytest.approx(expected, rel=1e-14)


def test_normalisation_is_left_out_or_changes_the_meaning():
    """With it, the mean is taken away: a constant map has no signal left but the bias, which is 0."""

    def chain(norm):
        return seeded(lambda: nn.Conv2d(2, 3, 1, bias=False), norm, lambda: nn.Conv2d(3, 1, 1, bias=False))

    without = Synflow()(chain(nn.Identity), sample(2, 4, 4))
    assert without > 0
    assert Synflow(bn=False)(chain(lambda: nn.BatchNorm2d(3)), sample(2, 4, 4)) == without
    assert Synflow(bn=True)(chain(lambda: nn.BatchNorm2d(3)), sample(2, 4, 4)) == pytest.approx(0, abs=1e-9)
    assert Synflow(bn=True)(chain(nn.Identity), sample(2, 4, 4)) == pytest.approx(without, rel=1e-14)
    single = Synflow(bn=True)(chain(lambda: nn.BatchNorm2d(3)), sample(2, 1, 1))  # a map of one pixel
    assert single == pytest.approx(0, abs=1e-9)


def test_normalisation_by_hand():
    """A padded convolution, so that the map varies: BN(z) = (z − mean) / std, differentiated by finite differences."""
    net = seeded(lambda: nn.Conv2d(1, 1, 3, padding=1, bias=False), lambda: nn.BatchNorm2d(1), nn.ReLU)
    weight = net[0].weight.detach().double().abs()

    def total(kernel):
        z = nn.functional.conv2d(torch.ones(1, 1, 5, 5, dtype=torch.float64), kernel, padding=1)
        return float(torch.relu((z - z.mean()) / (z.var(correction=0) + net[1].eps).sqrt()).sum())

    expected = 0.0
    for place in range(9):
        step = torch.zeros(9, dtype=torch.float64)
        step[place] = 1e-6
        step = step.view_as(weight)
        expected += abs(float(weight.flatten()[place]) * (total(weight + step) - total(weight - step)) / 2e-6)
    assert Synflow(bn=True)(net, sample(1, 5, 5)) == pytest.approx(expected, rel=1e-6)


def test_too_much_signal_is_infinite_and_the_network_is_as_before():
    net = seeded(lambda: nn.Linear(2, 2), lambda: nn.BatchNorm1d(2), lambda: nn.Linear(2, 2)).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    Synflow()(net, sample(2))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module.training for module in net.modules())
    deep = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(12))).double()
    for layer in deep:
        nn.init.constant_(layer.weight, 1e30)
    assert Synflow()(deep, sample(2)) == math.inf
