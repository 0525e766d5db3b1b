"""A small module with all that a graph may freeze, and its passes through graphs."""

import torch
from torch import nn
from torch.func import functional_call

from cases import images
from nas_lightning.capture import Graphed, Policy
from nas_lightning.core import draws
from nas_lightning.spaces.operations import drop_path


class Toy(nn.Module):
    """Convolution, normalisation, a mask that drops images, a product with mixing weights; two heads."""

    graphable = True

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.idle = nn.Parameter(torch.ones(2))
        self.head = nn.Linear(4, 2)
        self.probability = 0.3

    def forward(self, x, mixing):
        y = torch.relu(self.norm(self.conv(x)))
        if self.training:
            y = drop_path(y, lambda: self.probability, "toy")
        y = y * mixing[:, None, None]
        return self.head(y.mean((2, 3))), y.sum((1, 2, 3)).detach()


def toy():
    torch.manual_seed(0)
    return Toy().double()


def batch(step, size=4):
    return images(size, seed=step).double()


def mixing_of(step):
    return torch.rand(4, dtype=torch.float64, generator=torch.Generator().manual_seed(step)).requires_grad_()


def graphed_of(module, setting="required", **more):
    def function(weights, inputs, options):
        return functional_call(module, weights, (inputs["x"], inputs["mixing"]))

    return Graphed(function, module, Policy(setting, "graph"), **more)


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


def state(module):
    return [t.detach().clone() for t in module.state_dict().values()]


def step_of(compute, module, step, size=4):
    """One pass and its gradients; weights move a little. Returns all that came out."""
    x, mixing = batch(step, size), mixing_of(step)
    with draws.keyed(0, step, "weights"):
        logits, sums = compute(x, mixing)
    assert logits.requires_grad
    assert not sums.requires_grad
    module.zero_grad()
    logits.square().sum().backward()
    found = [logits.detach(), sums, mixing.grad, *(p.grad for p in module.parameters())]
    with torch.no_grad():
        for p in module.parameters():
            if p.grad is not None:
                p -= 0.1 * p.grad
    return found


REPLACED = {
    "data": lambda module: setattr(module.conv.weight, "data", module.conv.weight.data + 1),
    "assign": lambda module: module.load_state_dict({n: t + 1 for n, t in module.state_dict().items()}, assign=True),
    "layout": lambda module: module.to(memory_format=torch.channels_last),
    "buffer": lambda module: setattr(module.norm, "running_mean", torch.ones(4, dtype=torch.float64)),
    "module": lambda module: setattr(module, "head", toy().head),
}
