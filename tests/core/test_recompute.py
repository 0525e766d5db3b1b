"""Recomputed modules against plain calls: values, gradients of both orders and running statistics, to the bit."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from nas_lightning.core import draws
from nas_lightning.core.functional import autograd_is_plain, evaluating, frozen_batch_stats, plain_autograd
from nas_lightning.core.memory import LiveBytes
from nas_lightning.core.recompute import recomputed


class Gain(nn.Module):
    """A module outside the block that it calls."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.3))


class Block(nn.Module):
    """Convolutions, a normalisation, noise by key, and a scale that is no tensor argument."""

    def __init__(self, gain, wide=8):
        super().__init__()
        self.first = nn.Conv2d(3, wide, 3, padding=1)
        self.norm = nn.BatchNorm2d(wide)
        self.second = nn.Conv2d(wide, 3, 3, padding=1)
        self.outside = [gain]
        self.plain = []

    def forward(self, x, held):
        self.plain.append(autograd_is_plain())
        y = torch.tanh(self.norm(self.first(x))) * self.outside[0].gain
        return x + self.second(y + draws.normal_like(y, "noise")) * held["scale"]


class Net(nn.Module):
    def __init__(self, recomputes):
        super().__init__()
        torch.manual_seed(0)
        self.gain = Gain()
        self.blocks = nn.ModuleList(Block(self.gain) for _ in range(3))
        self.recomputes = recomputes

    def forward(self, x, scale):
        for block in self.blocks:
            held = {"scale": scale}
            x = recomputed(block, x, held, called=[self.gain]) if self.recomputes else block(x, held)
        return x.square().mean()


def nets():
    plain, recomputing = Net(False), Net(True)
    recomputing.load_state_dict(plain.state_dict())
    return plain, recomputing


def images():
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def same(first, second):
    assert len(first) == len(second)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def step(net):
    scale = torch.tensor(0.7, requires_grad=True)
    with draws.keyed(3, 1, "weights"):
        loss = net(images(), scale)
    loss.backward()  # outside of the block of keys
    return [loss.detach(), scale.grad, *(p.grad for p in net.parameters()), *(b.clone() for b in net.buffers())]


def test_a_training_step_is_that_of_the_plain_call():
    plain, recomputing = nets()
    same(step(plain), step(recomputing))
    assert [len(block.plain) for block in recomputing.blocks] == [2, 2, 2]
    assert any(int(b) == 1 for name, b in recomputing.named_buffers() if name.endswith("batches_tracked"))


@pytest.mark.parametrize("mode", [frozen_batch_stats, evaluating])
def test_modes_of_the_first_call_are_those_of_the_second(mode):
    def found(net):
        with mode(net), draws.keyed(3, 1, "outer"):
            loss = net(images(), torch.tensor(0.7))
        before = [b.clone() for b in net.buffers()]
        grads = torch.autograd.grad(loss, list(net.parameters()))
        same(before, list(net.buffers()))
        assert all(part.training for part in net.modules())
        return [loss.detach(), *grads]

    plain, recomputing = nets()
    for net in (plain, recomputing):
        step(net)
    same(found(plain), found(recomputing))


def test_replaced_weights_are_those_of_the_first_call():
    def found(net):
        weights = {name: (p.detach() * 1.1).requires_grad_() for name, p in net.named_parameters()}
        with frozen_batch_stats(net), draws.keyed(3, 1, "virtual"):
            loss = functional_call(net, weights, (images(), torch.tensor(0.7)))
        grads = torch.autograd.grad(loss, list(weights.values()))
        return [loss.detach(), *grads]

    plain, recomputing = nets()
    same(found(plain), found(recomputing))
    assert all(p.grad is None for p in recomputing.parameters())


def test_gradients_are_differentiated_again():
    def found(net):
        scale = torch.tensor(0.7, requires_grad=True)
        with plain_autograd(), frozen_batch_stats(net), draws.keyed(3, 1, "curvature"):
            loss = net(images(), scale)
        (grad,) = torch.autograd.grad(loss, scale, create_graph=True)
        twice = [torch.autograd.grad(grad, scale, retain_graph=True)[0] for _ in range(2)]
        assert torch.equal(*twice)
        return [grad.detach(), twice[0]]

    plain, recomputing = nets()
    same(found(plain), found(recomputing))
    assert {known for block in recomputing.blocks for known in block.plain} == {True}  # a context variable, too


def test_without_gradients_nothing_is_computed_twice():
    _, net = nets()
    with torch.no_grad():
        net(images(), torch.tensor(0.7))
    assert [len(block.plain) for block in net.blocks] == [1, 1, 1]


def test_a_deep_net_keeps_the_images_between_its_blocks():
    def peak(recomputes):
        gain = Gain().to("meta")
        blocks = [Block(gain, wide=64).to("meta") for _ in range(12)]
        with LiveBytes() as live:
            x = torch.zeros(8, 3, 32, 32, device="meta", requires_grad=True)
            y, held = x, {"scale": torch.ones((), device="meta")}
            for block in blocks:
                y = recomputed(block, y, held, called=[gain]) if recomputes else block(y, held)
            y.sum().backward()
        return live.peak

    assert peak(True) < peak(False) / 5


def test_weights_that_changed_since_are_refused():
    _, net = nets()
    with draws.keyed(3, 1, "weights"):
        loss = net(images(), torch.tensor(0.7))
    with torch.no_grad():
        net.blocks[0].first.weight.mul_(3)
    with pytest.raises(RuntimeError, match="weights have changed"):
        loss.backward()
