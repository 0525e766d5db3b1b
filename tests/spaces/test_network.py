"""The discrete network against loops over its operations: wiring, drop-path, auxiliary head, sizes, memory formats."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cases import SPACES, TINY, build_space, images, random_genotype
from nas_lightning.core import draws
from nas_lightning.spaces import Genotype, genotype
from nas_lightning.spaces.network import AuxiliaryHead, auxiliary_fits
from nas_lightning.spaces.operations import FactorizedReduce
from nas_lightning.spaces.quick import QuickDepthwise


def tiny_network(space, architecture, **sizes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return space.network(architecture, **{**TINY, **sizes}).double()


def by_hand(net, architecture, x, kinds, spoil=lambda y: y):
    """Outputs of all cells: a dictionary of node values, an edge at a time; `spoil` acts on all but identities."""
    before, last = net.stem(x)
    outputs = []
    for cell, kind in zip(net.cells, kinds, strict=True):
        values = {0: cell.preprocess.before(before), 1: cell.preprocess.last(last)}
        for node in sorted({node for node, _, _ in architecture.cells[kind]}):
            incoming = []
            for index, (target, op, source) in enumerate(architecture.cells[kind]):
                if target == node:
                    y = cell.operations[index](values[source])
                    identity = op == "skip_connect" and (kind == "normal" or source > 1)
                    incoming.append(y if identity else spoil(y))
            values[node] = sum(incoming)
        outputs.append(torch.cat([values[node] for node in architecture.concat[kind]], 1))
        before, last = last, outputs[-1]
    return outputs


KINDS = ("normal", "reduce", "reduce", "normal")  # four cells


@pytest.mark.parametrize("name", [name for name in SPACES if name != "s4"])
def test_wiring(name):
    space = build_space(name)
    for seed in (0, 1):
        architecture = random_genotype(space, seed)
        net = tiny_network(space, architecture)
        for training in (True, False):
            net.train(training)
            last = by_hand(net, architecture, images(), KINDS)[-1]
            expected = last.mean((2, 3)) @ net.classifier.weight.T + net.classifier.bias
            torch.testing.assert_close(net(images()), expected, rtol=0, atol=1e-10)


def test_operations_strides_and_normalisation_of_the_built_network():
    architecture = genotype("darts_v2")
    net = tiny_network(build_space("darts"), architecture)
    for cell, kind in zip(net.cells, KINDS, strict=True):
        for operation, (_, op, source) in zip(cell.operations, architecture.cells[kind], strict=True):
            stride = 2 if kind == "reduce" and source < 2 else 1
            x = images(1, 4, channels=cell.preprocess.last[1].out_channels)
            assert operation(x).shape[2:] == (4 // stride, 4 // stride)
            if op == "max_pool_3x3":  # stands alone
                assert isinstance(operation, nn.MaxPool2d)
            if op == "skip_connect":
                assert isinstance(operation, FactorizedReduce) == (stride == 2)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.affine for norm in norms)
    halved = [isinstance(cell.preprocess.before, FactorizedReduce) for cell in net.cells]
    assert halved == [False, False, True, True]


# --------------------------------------------------------------------------------------------------- drop-path
@pytest.mark.parametrize("name", ["darts", "s1", "s2", "s3", "s5"])
def test_drop_path_meets_everything_but_identities(name, monkeypatch):
    space = build_space(name)
    architecture = random_genotype(space, 4)
    calls = []

    def half(x, keep, *key):  # where the released code has 0 or 1 for every image
        calls.append((keep, key))
        return torch.full((len(x), 1, 1, 1), 0.5 * keep, dtype=x.dtype)

    monkeypatch.setattr(draws, "keep_mask", half)
    net = tiny_network(space, architecture)
    net.drop_probability = 0.3
    last = by_hand(net, architecture, images(), KINDS, spoil=lambda y: 0.5 * y)[-1]
    torch.testing.assert_close(net(images()), net.classifier(last.mean((2, 3))), rtol=0, atol=1e-10)
    spared = sum(
        op == "skip_connect" and (kind == "normal" or source > 1)
        for kind in KINDS
        for _, op, source in architecture.cells[kind]
    )
    total = sum(len(architecture.cells[kind]) for kind in KINDS)
    assert len(calls) == total - spared
    assert {keep for keep, _ in calls} == {0.7}
    assert len({key for _, key in calls}) == len(calls)  # a mask of its own for every path
    calls.clear()
    net.eval()(images())
    assert calls == []


def test_drop_path_meets_noise_and_pools():
    # One cell of s4: with every path dropped by hand nothing is left.
    space = build_space("s4")
    net = tiny_network(space, random_genotype(space), layers=1)
    net.drop_probability = 1 - 1e-12
    with draws.keyed(0, 0, "train"):
        assert torch.equal(net(images()), net.classifier.bias.expand(4, 3))


def test_drop_path_in_a_cell_of_identities():
    space = build_space("s3")
    edges = tuple((node, "skip_connect", source) for node in range(2, 6) for source in (0, 1))
    concat = dict.fromkeys(("normal", "reduce"), (2, 3, 4, 5))
    net = tiny_network(space, Genotype("s3", {"normal": edges, "reduce": edges}, concat))
    expected = net(images())
    assert [len(cell.paths) for cell in net.cells] == [0, 8, 8, 0]  # only what halves the resolution is dropped
    net.drop_probability = 0.5
    with draws.keyed(0, 0, "train"):
        assert not torch.equal(net(images()), expected)


def test_drop_path_is_keyed_and_per_image():
    space = build_space("s2")
    net = tiny_network(space, random_genotype(space))
    net.drop_probability = 0.4
    outputs = []
    for step in (0, 0, 1):
        with draws.keyed(0, step, "train"):
            outputs.append(net(images()))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    net.drop_probability = 0.0
    assert not torch.equal(net(images()), outputs[0])


# -------------------------------------------------------------------------------------------------- auxiliary
def auxiliary_by_hand(head, x, stride, second_norm):
    def norm(y, module):
        y = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        return y * module.weight[:, None, None] + module.bias[:, None, None]

    convs = [m for m in head.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in head.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 1 + second_norm
    y = x.clamp(min=0).unfold(2, 5, stride).unfold(3, 5, stride).mean((-1, -2))
    y = norm(torch.einsum("bchw,oc->bohw", y, convs[0].weight[:, :, 0, 0]), norms[0]).clamp(min=0)
    assert y.shape[1:] == (128, 2, 2)
    y = torch.einsum("bchw,ochw->bo", y, convs[1].weight)
    assert y.shape[1] == 768
    if second_norm:
        y = norm(y[:, :, None, None], norms[1])[:, :, 0, 0]
    return y.clamp(min=0) @ head.classifier.weight.T + head.classifier.bias


@pytest.mark.parametrize(("stem", "size", "stride", "second_norm"), [("cifar", 8, 3, True), ("imagenet", 7, 2, False)])
def test_auxiliary_head(stem, size, stride, second_norm):
    torch.manual_seed(0)
    head = AuxiliaryHead(6, 5, stem).double()
    for norm in (m for m in head.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = images(5, size, 6)
    expected = auxiliary_by_hand(head, x, stride, second_norm)
    torch.testing.assert_close(head(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("layers", "cell"), [(3, 2), (4, 2), (5, 3), (8, 5)])
def test_auxiliary_head_reads_the_second_reduction_cell(layers, cell):
    space = build_space("s5")
    architecture = random_genotype(space)
    net = tiny_network(space, architecture, layers=layers, auxiliary=True, init_channels=2)
    kinds = ["reduce" if k in (layers // 3, 2 * layers // 3) else "normal" for k in range(layers)]
    assert [k for k, kind in enumerate(kinds) if kind == "reduce"][-1] == cell
    x = images(4, 32)
    logits, auxiliary = net(x)
    outputs = by_hand(net, architecture, x, kinds)
    torch.testing.assert_close(logits, net.classifier(outputs[-1].mean((2, 3))), rtol=0, atol=1e-10)
    torch.testing.assert_close(auxiliary, net.auxiliary(outputs[cell]), rtol=0, atol=1e-10)


def test_auxiliary_logits_come_in_train_mode_only():
    space = build_space("s5")
    architecture = random_genotype(space)
    net = tiny_network(space, architecture, auxiliary=True)
    logits, auxiliary = net(images(2, 32))
    assert logits.shape == auxiliary.shape == (2, 3)
    (logits.sum() + 0.4 * auxiliary.sum()).backward()
    assert all(p.grad is not None for p in net.auxiliary.parameters())
    assert net.eval()(images(2, 32)).shape == (2, 3)
    plain = tiny_network(space, architecture)
    assert plain(images(2, 32)).shape == (2, 3)
    assert plain.auxiliary is None


@pytest.mark.parametrize(("stem", "fits", "small"), [("cifar", 32, 28), ("imagenet", 224, 192)])
def test_auxiliary_fits(stem, fits, small):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert auxiliary_fits(fits, stem)
    with pytest.warns(UserWarning, match=rf"auxiliary head off: images of side {small} .*evaluation\.auxiliary=0"):
        assert not auxiliary_fits(small, stem)
    side = {"cifar": small // 4, "imagenet": small // 32}[stem]
    with pytest.raises(RuntimeError, match="Kernel size"):
        AuxiliaryHead(4, 3, stem)(torch.randn(2, 4, side, side))


# ------------------------------------------------------------------------------------------------------ sizes
@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_depths(name, layers):
    space = build_space(name)
    net = space.network(random_genotype(space), 7, in_channels=1, init_channels=2, layers=layers)
    assert net(torch.randn(2, 1, 8, 8)).shape == (2, 7)


def test_imagenet_stem():
    space = build_space("darts")
    net = space.network(genotype("darts_v2"), 11, init_channels=4, layers=3, auxiliary=True, stem="imagenet")
    shapes = []
    for cell in net.cells:
        cell.register_forward_hook(lambda _, args, out: shapes.append((args[0].shape[2], out.shape[1:])))
    logits, auxiliary = net(torch.randn(2, 3, 224, 224))
    assert logits.shape == auxiliary.shape == (2, 11)
    assert shapes == [(56, (16, 28, 28)), (28, (32, 14, 14)), (28, (64, 7, 7))]
    assert isinstance(net.cells[0].preprocess.before, FactorizedReduce)


@pytest.mark.parametrize("keep", [1, 3])
def test_genotypes_with_other_numbers_of_edges(keep):
    space = build_space("s2")
    architecture = space.genotype({key: choice.uniform() for key, choice in space.choices.items()}, keep)
    net = tiny_network(space, architecture)
    last = by_hand(net, architecture, images(), KINDS)[-1]
    torch.testing.assert_close(net(images()), net.classifier(last.mean((2, 3))), rtol=0, atol=1e-10)


def test_every_operation_of_darts_can_stand_in_a_network():
    space = build_space("darts")
    options = iter(space.choices["normal"].options[0])
    edges = tuple((node, next(options), source) for node in range(2, 6) for source in (0, 1))
    concat = dict.fromkeys(("normal", "reduce"), (2, 3, 4, 5))
    architecture = Genotype("darts", {"normal": edges, "reduce": edges}, concat)
    net = tiny_network(space, architecture)
    last = by_hand(net, architecture, images(), KINDS)[-1]
    torch.testing.assert_close(net(images()), net.classifier(last.mean((2, 3))), rtol=0, atol=1e-10)


# ---------------------------------------------------------------------------------------------- memory formats
def plainly(net):
    """A copy in which every convolution is torch's own."""
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, QuickDepthwise):
            module.__class__ = nn.Conv2d
    return net


@pytest.mark.parametrize("name", [*SPACES])
def test_channels_last_changes_nothing_but_rounding(name):
    """Logits and all gradients, in float64, beside plain convolutions in NCHW; both halvings of the resolution."""
    space = build_space(name)
    net = tiny_network(space, random_genotype(space, 2), layers=3, auxiliary=True)
    plain = plainly(net)
    net.to(memory_format=torch.channels_last)
    x, results = images(3, 32), []
    for network, inputs in ((net, x.contiguous(memory_format=torch.channels_last)), (plain, x)):
        network.drop_probability = 0.3
        with draws.keyed(0, 0, "train"):
            logits, auxiliary = network(inputs)
        (logits.square().sum() + auxiliary.square().sum()).backward()
        results.append([logits, auxiliary, *(p.grad for p in network.parameters())])
    for a, b in zip(*results, strict=True):
        if b is None:  # beyond noise there is no gradient
            assert a is None
        else:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    for a, b in zip(net.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


class Convolutions(TorchDispatchMode):
    """Notes kernel side and stride of every convolution."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.seen.add((args[1].shape[-1], args[3][0]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_no_strided_convolution_has_a_kernel_of_one_pixel(stem):
    """The backward pass of torch's own writes out of bounds in channels_last on some CPUs."""
    space = build_space("s3")
    net = tiny_network(space, random_genotype(space, 2), stem=stem)
    with Convolutions() as convolutions:
        net(images(2, 32))
    assert any(isinstance(module, FactorizedReduce) for module in net.modules())
    assert {(1, 1), (3, 1)} <= convolutions.seen
    assert (1, 2) not in convolutions.seen
