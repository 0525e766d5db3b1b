"""Supernet and discrete network of NAS-Bench-201 against loops over torch.nn.functional; published sizes."""

import gzip

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nas_lightning as nl
from cases import REAL_TABLE, images, random_mixing, seeded
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.regularizers import Regularizer
from nas_lightning.spaces import NasBench201Space, genotype, nasbench201_networks
from nas_lightning.spaces.mixed import Mix
from nas_lightning.spaces.operations import Identity

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
TINY = {"num_classes": 3, "in_channels": 3, "init_channels": 4, "layers": 2}
SPACE = NasBench201Space()
MIXED = "|nor_conv_1x1~0|+|avg_pool_3x3~0|none~1|+|skip_connect~0|nor_conv_3x3~1|avg_pool_3x3~2|"


def build(make, *arguments, seed=0, **sizes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make(*arguments, **{**TINY, **sizes}).double()
        for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.affine):
            nn.init.normal_(norm.weight, 1, 0.2)
            nn.init.normal_(norm.bias)
    return net


class Loops:
    """The networks written from the specification, over the entries of a state_dict."""

    def __init__(self, net, divisor=1):
        self.state, self.training, self.divisor = net.state_dict(), net.training, divisor

    def norm(self, x, key):
        if self.training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        else:
            mean, var = self.state[f"{key}.running_mean"], self.state[f"{key}.running_var"]
        y = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
        if f"{key}.weight" in self.state:
            y = y * self.state[f"{key}.weight"][:, None, None] + self.state[f"{key}.bias"][:, None, None]
        return y

    def convolution(self, x, key, stride=1):
        weight = self.state[f"{key}.1.weight"]
        assert f"{key}.1.bias" not in self.state
        return self.norm(F.conv2d(F.relu(x), weight, None, stride, weight.shape[-1] // 2), f"{key}.2")

    def operation(self, name, x, key):
        if name == "none":
            return torch.zeros_like(x)
        if name == "skip_connect":
            return x
        if name == "avg_pool_3x3":  # nothing after it; zeros counted, then taken out again
            assert not [entry for entry in self.state if entry.startswith(f"{key}.")]
            return F.avg_pool2d(x, 3, 1, 1) / F.avg_pool2d(torch.ones_like(x), 3, 1, 1)
        assert self.state[f"{key}.1.weight"].shape[-1] == int(name[-1])
        return self.convolution(x, key)

    def edge(self, x, key, weights):
        width = x.shape[1] // self.divisor
        y = sum(w * self.operation(op, x[:, :width], f"{key}.operations.{i}") for i, (op, w) in enumerate(weights))
        if self.divisor == 1:
            return y
        groups = torch.cat((y, x[:, width:]), 1).chunk(self.divisor, 1)
        return torch.stack([group[:, channel] for channel in range(width) for group in groups], 1)

    def residual(self, x, key):
        y = self.convolution(self.convolution(x, f"{key}.convolutions.0", 2), f"{key}.convolutions.1")
        return y + F.conv2d(F.avg_pool2d(x, 2, 2), self.state[f"{key}.shortcut.1.weight"])

    def logits(self, x, layers, edge):
        x = self.norm(F.conv2d(x, self.state["stem.0.weight"], None, 1, 1), "stem.1")
        for stage in range(3):
            if stage:
                x = self.residual(x, f"reductions.{stage - 1}")
            for k in range(layers * stage, layers * (stage + 1)):
                nodes = [x]
                for node in (1, 2, 3):
                    into = [(row, source) for row, (target, source) in enumerate(EDGES) if target == node]
                    nodes.append(sum(edge(nodes[source], k, row) for row, source in into))
                x = nodes[3]
        x = F.relu(self.norm(x, "head.0")).mean((2, 3))
        return x @ self.state["classifier.weight"].T + self.state["classifier.bias"]


def mixed_logits(net, mixing, x, layers=2, divisor=1):
    loops, weights = Loops(net, divisor), mixing["cell"]

    def edge(y, cell, row):
        return loops.edge(y, f"cells.{cell}.edges.{row}", list(zip(OPS, weights[row], strict=True)))

    return loops.logits(x, layers, edge)


# ------------------------------------------------------------------------------------------------- supernet
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("training", [True, False])
def test_supernet_is_the_loops(layers, training):
    net = build(SPACE.supernet, layers=layers).train(training)
    mixing = random_mixing(SPACE, layers)
    expected = mixed_logits(net, mixing, images(), layers)
    torch.testing.assert_close(net(images(), mixing), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("divisor", [2, 4])
def test_supernet_with_partial_channels_is_the_loops(divisor):
    net = build(SPACE.variant(partial_channels=divisor).supernet)
    mixing = random_mixing(SPACE)
    expected = mixed_logits(net, mixing, images(), divisor=divisor)
    torch.testing.assert_close(net(images(), mixing), expected, rtol=0, atol=1e-10)


def test_supernet_with_partial_channels_needs_a_divisor():
    with pytest.raises(ConfigError, match=r"divisor=3: must divide search\.init_channels=4"):
        build(SPACE.variant(partial_channels=3).supernet)


@pytest.mark.parametrize(
    "text", [MIXED, genotype("nasbench201_darts").arch_str, genotype("nasbench201_drnas").arch_str]
)
def test_one_hot_supernet_is_the_discrete_network(text):
    found = nl.Genotype.from_arch_str(text)
    supernet, network = build(SPACE.supernet), build(SPACE.network, found, seed=1)
    columns = [OPS.index(op) for _, op, _ in found.cells["cell"]]
    state = network.state_dict()
    for key, value in supernet.state_dict().items():
        if key.startswith("cells"):
            _, cell, _, row, _, column, *rest = key.split(".")
            if int(column) != columns[int(row)]:
                continue
            key = ".".join(("cells", cell, "operations", row, *rest))
        state[key] = value
    for key in state:  # the normalisation in the cells of the supernet is that with weights 1 and biases 0
        if key.startswith("cells") and key.endswith((".2.weight", ".2.bias")):
            state[key] = torch.full_like(state[key], float(key.endswith("weight")))
    network.load_state_dict(state)
    mixing = {"cell": F.one_hot(torch.tensor(columns), 5).double()}
    for training in (True, False):
        supernet.train(training), network.train(training)
        torch.testing.assert_close(supernet(images(), mixing), network(images()), rtol=0, atol=1e-10)
        active = {"cell": mixing["cell"] > 0}
        torch.testing.assert_close(supernet(images(), mixing, active), network(images()), rtol=0, atol=1e-10)


def test_what_is_not_active_is_not_computed():
    net, mixing = build(SPACE.supernet), random_mixing(SPACE)
    active = {"cell": torch.rand(6, 5, generator=seeded(3)) < 0.5}
    active["cell"][[1, 2]] = False  # nothing enters node 2
    active["cell"][0, 3] = True
    kept = {"cell": mixing["cell"] * active["cell"]}
    torch.testing.assert_close(net(images(), mixing, active), mixed_logits(net, kept, images()), rtol=0, atol=1e-10)
    net(images(), mixing, active).sum().backward()
    for name, weight in net.named_parameters():
        if name.startswith("cells"):
            _, _, _, row, _, column, *_ = name.split(".")
            assert (weight.grad is not None) == bool(active["cell"][int(row), int(column)])


def test_with_nothing_active_the_cell_is_zeros():
    net = build(SPACE.supernet)
    nothing = {"cell": torch.zeros(6, 5, dtype=torch.bool)}
    assert torch.isfinite(net(images(), random_mixing(SPACE), nothing)).all()
    cell = net.cells[0]
    mix = Mix(torch.ones(6, 5), [[False] * 5] * 6)
    assert torch.equal(cell(images(channels=4), mix), torch.zeros(4, 4, 8, 8))


def test_gradients_of_the_mixing():
    net = build(SPACE.supernet, layers=1)
    weights = random_mixing(SPACE)["cell"].requires_grad_()
    x = images(2, 4)
    assert torch.autograd.gradcheck(lambda w: net(x, {"cell": w}).sum(), (weights,), nondet_tol=1e-9)


def test_offsets_are_added_to_each_edge():
    net, mixing = build(SPACE.supernet), random_mixing(SPACE)
    offsets = torch.randn(6, generator=seeded(5), dtype=torch.float64)
    loops = Loops(net)

    def edge(y, cell, row):
        weights = list(zip(OPS, mixing["cell"][row], strict=True))
        return loops.edge(y, f"cells.{cell}.edges.{row}", weights) + offsets[row]

    found = net(images(), {**mixing, "cell.offset": offsets})
    torch.testing.assert_close(found, loops.logits(images(), 2, edge), rtol=0, atol=1e-10)


class Recorder(Regularizer):
    def __init__(self):
        self.ops, self.edges = [], []

    def on_op(self, y, op, edge):
        self.ops.append((op, edge))
        return y

    def on_edge(self, y, x, edge):
        self.edges.append((edge, tuple(y.shape)))
        return 2 * y


def test_regularizers_see_every_operation_and_edge():
    net, mixing = build(SPACE.supernet), random_mixing(SPACE)
    part = Recorder()
    net.attach((part,))
    doubled = net(images(), mixing)
    assert [op for op, _ in part.ops] == list(OPS) * 36
    assert len({edge for edge, _ in part.edges}) == 36
    for index, (edge, shape) in enumerate(part.edges):
        cell, row = divmod(index, 6)
        width = 4 * 2 ** (cell // 2)
        assert (edge.choice, edge.cell, edge.row, edge.stride, edge.channels) == ("cell", cell, row, 1, width)
        assert (edge.node, edge.source) == EDGES[row]
        assert shape == (4, width, 16 // width * 2, 16 // width * 2)
    expected = mixed_logits(net, {"cell": 2 * mixing["cell"]}, images())
    torch.testing.assert_close(doubled, expected, rtol=0, atol=1e-10)


class Learnable(Regularizer):
    def parameters(self):
        return iter([nn.Parameter(torch.ones(()))])


def test_learnable_parts_must_be_modules():
    with pytest.raises(ConfigError, match=r"regularizer Learnable has parameters"):
        build(SPACE.supernet).attach((Learnable(),))


def test_normalisation_is_affine_outside_of_the_cells_and_keeps_statistics():
    for name, module in build(SPACE.supernet).named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.affine == (not name.startswith("cells"))
            assert module.track_running_stats
    for module in build(SPACE.network, genotype("nasbench201_drnas")).modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.affine
            assert module.track_running_stats


def test_defaults_are_the_published_sizes():
    net = SPACE.supernet()
    assert len(net.cells) == 15
    assert net.classifier.weight.shape == (10, 64)
    cells = 15 * 6 * 0 + sum(5 * 6 * (c * c + 9 * c * c) for c in (16, 32, 64))  # weights of 1×1 and 3×3 convolutions
    assert nl.count_parameters(net) == 73_306 + cells


def test_odd_channels():
    with pytest.raises(ConfigError, match=r"init_channels=5: must be even and positive; use 6"):
        build(SPACE.supernet, init_channels=5)


# -------------------------------------------------------------------------------------------- discrete network
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_network_is_the_loops(seed, training):
    found = SPACE.genotype(random_mixing(SPACE, seed))
    net = build(SPACE.network, found).train(training)
    loops = Loops(net)
    ops = [op for _, op, _ in found.cells["cell"]]
    expected = loops.logits(
        images(), 2, lambda y, cell, row: loops.operation(ops[row], y, f"cells.{cell}.operations.{row}")
    )
    torch.testing.assert_close(net(images()), expected, rtol=0, atol=1e-10)


def closed_form(text, classes=10):
    """Parameters with 16 channels and 5 cells a stage: convolutions without bias, affine normalisation."""
    widths = (16, 32, 64)
    stem = 27 * 16 + 2 * 16
    blocks = sum(9 * a * b + 2 * b + 9 * b * b + 2 * b + a * b for a, b in ((16, 32), (32, 64)))
    head = 2 * 64 + 64 * classes + classes
    small, large = text.count("nor_conv_1x1"), text.count("nor_conv_3x3")
    cells = 5 * sum(small * (c * c + 2 * c) + large * (9 * c * c + 2 * c) for c in widths)
    return stem + blocks + head + cells


def test_parameters_by_hand():
    assert closed_form(genotype("nasbench201_darts").arch_str) == 73_306
    for text in (MIXED, genotype("nasbench201_drnas").arch_str):
        network = SPACE.network(nl.Genotype.from_arch_str(text), num_classes=100)
        assert nl.count_parameters(network) == closed_form(text, 100)


@pytest.mark.skipif(not REAL_TABLE.exists(), reason="the table of accuracies is local only")
def test_parameters_are_the_published_ones():
    with gzip.open(REAL_TABLE, "rt") as file:
        lines = [line.split(",") for line in file][1:]
    assert all(round(closed_form(text) / 1e6, 6) == float(params) for _, text, _, params, *_ in lines)
    for _, text, _, params, *_ in lines[::1500]:
        network = SPACE.network(nl.Genotype.from_arch_str(text))
        assert round(nl.count_parameters(network) / 1e6, 6) == float(params)


def test_drop_path_meets_everything_but_identities(monkeypatch):
    found = nl.Genotype.from_arch_str(MIXED)
    calls = []

    def half(y, probability, *key):
        calls.append((probability(), key))
        return 0.5 * y

    monkeypatch.setattr(nasbench201_networks, "drop_path", half)
    net = build(SPACE.network, found)
    net.drop_probability = 0.3
    loops = Loops(net)
    ops = [op for _, op, _ in found.cells["cell"]]

    def edge(y, cell, row):
        y = loops.operation(ops[row], y, f"cells.{cell}.operations.{row}")
        return y if ops[row] == "skip_connect" else 0.5 * y

    torch.testing.assert_close(net(images()), loops.logits(images(), 2, edge), rtol=0, atol=1e-10)
    assert len(calls) == 6 * 5
    assert {probability for probability, _ in calls} == {0.3}
    assert len({key for _, key in calls}) == len(calls)
    assert isinstance(net.cells[0].operations[3], Identity)
    calls.clear()
    net.eval()(images())
    assert calls == []


def test_drop_path_is_keyed():
    net = build(SPACE.network, nl.Genotype.from_arch_str(MIXED))
    net.drop_probability = 0.4
    outputs = []
    for step in (0, 0, 1):
        with draws.keyed(0, step, "train"):
            outputs.append(net(images()))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_there_is_no_auxiliary_head():
    with pytest.warns(UserWarning, match=r"auxiliary head off.*evaluation\.auxiliary=0"):
        net = SPACE.network(genotype("nasbench201_darts"), auxiliary=True, layers=1, init_channels=2)
    assert isinstance(net.train()(torch.zeros(2, 3, 8, 8)), torch.Tensor)


def test_other_genotypes_are_refused():
    with pytest.raises(GenotypeError, match="space=darts"):
        SPACE.network(genotype("darts_v2"))


def test_a_network_of_nothing_still_runs():
    network = build(SPACE.network, nl.Genotype.from_arch_str("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"))
    loss = network(images()).sum()
    loss.backward()
    assert torch.isfinite(loss)
