"""What a section is refused for, and how two runs of one are compared."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

import nas_lightning as nl
from capture_safety import on_meta, refused_on_meta
from cases import build_space, images, random_genotype, random_mixing, tiny_supernet
from nas_lightning.capture import statements
from nas_lightning.capture.trace import CaptureError, Trace
from nas_lightning.core import draws
from nas_lightning.regularizers import DropPath, Noise, SkipDropPath
from nas_lightning.spaces import NasBench201Space

X = torch.arange(6.0).view(2, 3)
REFUSED = {
    "item": (lambda x: float(x.sum()), "_local_scalar_dense reads the device"),
    "branch": (lambda x: bool((x > 2).any()), "_local_scalar_dense reads the device"),
    "nonzero": (lambda x: x.nonzero(), "nonzero reads the device"),
    "unique": (lambda x: x.unique(), "_unique2 reads the device"),
    "equal": (lambda x: torch.equal(x, x + 1), "equal reads the device"),
    "mask": (lambda x: x[x > 2], "index by a mask reads the device"),
    "assign by a mask": (lambda x: x.clone().index_put_((x > 2,), x.sum()), "index_put_ by a mask reads the device"),
    "tensor": (lambda x: x + torch.tensor([1.0, 2.0, 3.0]), "a tensor is made of Python's numbers"),
    "rand": (lambda x: torch.rand_like(x), "rand_like draws random numbers"),
    "normal": (lambda x: torch.randn(2), "randn draws random numbers"),
    "dropout": (lambda x: nn.functional.dropout(x), "native_dropout draws random numbers|bernoulli_ draws"),
    "device": (lambda x: x.to("meta"), "_to_copy needs tensors of cpu and meta"),
    "copy": (lambda x: torch.empty(2, 3, device="meta").copy_(x), "copy_ needs tensors of cpu and meta"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    run, reason = REFUSED[name]
    with pytest.raises(CaptureError, match=reason), Trace():
        run(X)


HARMLESS = {
    "arithmetic": lambda x: (x * 2 + 1).softmax(1)[:, ::2],
    "new tensors": lambda x: torch.zeros(3) + torch.full((3,), 2.0) + torch.arange(3),
    "index by numbers": lambda x: x[:, X[0].long()],
    "masks": lambda x: torch.where(x > 2, x, 0).masked_fill(x > 3, 1.0),
    "batch normalisation": lambda x: nn.BatchNorm1d(3)(x),
    "gradient": lambda x: torch.autograd.grad((y := x.clone().requires_grad_()).exp().sum(), y),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_not_refused(name):
    norm = nn.BatchNorm1d(3)  # made before: its constructor makes tensors of numbers
    run = (lambda x: norm(x)) if name == "batch normalisation" else HARMLESS[name]
    with Trace() as trace:
        run(X)
    assert trace.calls


DIFFERENT = {
    "number": lambda x: x * 3,
    "shape": lambda x: x[:1] * 2,
    "operator": lambda x: x + 2,
    "type": lambda x: x.double() * 2,
    "layout": lambda x: x.T * 2,
    "more": lambda x: x * 2 + 1,
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_run_is_compared_with_the_capture(name):
    with Trace() as captured:
        X * 2
    with Trace() as again:
        (X + 5) * 2  # other values alone
    again.compare([again.calls[0], *captured.calls])
    with Trace() as other:
        DIFFERENT[name](X)
    with pytest.raises(CaptureError, match=r"operator \d of the section is .* was captured"):
        other.compare(captured.calls)
    with pytest.raises(CaptureError, match="was captured"):
        captured.compare(other.calls)


# ---------------------------------------------------------------------------------------- on meta, in place of a GPU
MIXED = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
SPACES = ("darts", "s1", "s2", "s3", "s4", "s5", "nasbench201")
QUICKLY = ("s5", "nasbench201")
"""The other supernets have the same operations in more places: they are captured with the slow tests."""


def space_named(name):
    return NasBench201Space() if name == "nasbench201" else build_space(name)


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        pytest.param(name, engine, marks=[] if engine == "fast" and name in QUICKLY else pytest.mark.slow)
        for name, engine in (*((name, "fast") for name in SPACES), ("s4", "reference"))
    ],
)
def test_supernets_can_be_captured(name, engine):
    space = space_named(name)
    net = on_meta(tiny_supernet(space, engine=engine, layers=1 if name == "nasbench201" else 3))
    parts = (DropPath(0.4, epochs=2), Noise("all"), SkipDropPath(0.2))
    net.attach(parts)
    parts[0].at_epoch(1)
    mixing = {n: m.requires_grad_() for n, m in random_mixing(space).items()}

    def function(weights, inputs, options):
        return functional_call(net, weights, (inputs["images"], {n: inputs[n] for n in mixing}))

    assert refused_on_meta(function, net, {"images": images(), **mixing}, statements(parts, ())) is None


@pytest.mark.parametrize("name", SPACES)
def test_networks_can_be_captured(name):
    space = space_named(name)
    if name == "nasbench201":
        net = space.network(nl.Genotype.from_arch_str(MIXED), 3, init_channels=4, layers=1)
    else:
        net = space.network(random_genotype(space, 1), 3, init_channels=4, layers=3, auxiliary=True)
    net = on_meta(net)
    net.drop_probability = 0.2
    inputs = {"x": images(4, 32)}
    assert refused_on_meta(lambda w, i, _: functional_call(net, w, (i["x"],)), net, inputs) is None


class Own(nn.Module):
    graphable = True

    def forward(self, x):
        rng = draws.generator("own", device="cpu")
        return x * torch.rand(1, generator=rng).to(x.device)


def test_a_draw_past_the_mechanism_is_found():
    net = on_meta(Own())
    reason = refused_on_meta(lambda w, i, _: net(i["x"]), net, {"x": images().requires_grad_()})
    assert reason == "rand draws random numbers, not through draws.outside"
