"""The reference supernet against plain loops over torch.nn.functional, its switches and its hooks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cases import SPACES, TINY, build_space, images, random_genotype, random_mixing, space_config, tiny_supernet
from nas_lightning.core import draws
from nas_lightning.core.regularizer import Regularizer

NOISELESS = ["darts", "s1", "s3", "s5"]  # s2 comes with the other stem; darts_nonone is darts without a column
REDUCTIONS = {1: {0}, 2: {0, 1}, 3: {1, 2}, 4: {1, 2}, 5: {1, 3}}
EDGES = [(source, node) for node in (2, 3, 4, 5) for source in range(node)]


# ------------------------------------------------------------------------------------- an independent forward
class Loops:
    """The mixed network written from the specification, over the entries of a state_dict."""

    def __init__(self, state, name, training, divisor=1):
        self.state, self.training, self.divisor = state, training, divisor
        config = space_config(name)
        self.nodes = range(2, 2 + config["num_nodes"])
        self.edges = [edge for edge in EDGES if edge[1] in self.nodes]
        lists = config["operations"]
        self.options = lists if isinstance(lists, dict) else dict.fromkeys(("normal", "reduce"), [lists] * 14)

    def norm(self, x, key):
        if self.training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        else:
            mean, var = self.state[f"{key}.running_mean"], self.state[f"{key}.running_var"]
        y = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
        if f"{key}.weight" in self.state:
            y = y * self.state[f"{key}.weight"][:, None, None] + self.state[f"{key}.bias"][:, None, None]
        return y

    def relu_conv_norm(self, x, key):
        return self.norm(F.conv2d(F.relu(x), self.state[f"{key}.1.weight"]), f"{key}.2")

    def halve(self, x, key):
        x = F.relu(x)
        even = F.conv2d(x[:, :, 0::2, 0::2], self.state[f"{key}.conv_1.weight"])
        odd = F.conv2d(x[:, :, 1::2, 1::2], self.state[f"{key}.conv_2.weight"])
        return self.norm(torch.cat((even, odd), 1), f"{key}.norm")

    def separable(self, x, key, first, stride, dilation):
        weight = self.state[f"{key}.{first + 1}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        y = F.conv2d(F.relu(x), weight, None, stride, padding, dilation, groups=x.shape[1])
        return self.norm(F.conv2d(y, self.state[f"{key}.{first + 2}.weight"]), f"{key}.{first + 3}")

    def operation(self, name, x, key, stride):
        if name == "none":
            return torch.zeros_like(x[:, :, ::stride, ::stride])
        if name == "max_pool_3x3":
            return self.norm(F.max_pool2d(x, 3, stride, 1), f"{key}.1")
        if name == "avg_pool_3x3":
            inside = F.avg_pool2d(torch.ones_like(x), 3, stride, 1)  # zeros counted, then taken out again
            return self.norm(F.avg_pool2d(x, 3, stride, 1) / inside, f"{key}.1")
        if name == "skip_connect":
            return x if stride == 1 else self.halve(x, key)
        if name.startswith("sep"):
            return self.separable(self.separable(x, key, 0, stride, 1), key, 4, 1, 1)
        return self.separable(x, key, 0, stride, 2)

    def edge(self, x, key, stride, names, weights):
        width = x.shape[1] // self.divisor
        mixed = 0
        for column, name in enumerate(names):
            y = self.operation(name, x[:, :width], f"{key}.operations.{column}", stride)
            mixed = mixed + weights[column] * y
        if self.divisor == 1:
            return mixed
        others = x[:, width:] if stride == 1 else F.max_pool2d(x[:, width:], 2, 2)
        groups = torch.cat((mixed, others), 1).chunk(self.divisor, 1)
        return torch.stack([group[:, channel] for channel in range(width) for group in groups], 1)

    def cell(self, k, kind, before, last, halve_before, weights, edge_weights):
        key = f"cells.{k}"
        make = self.halve if halve_before else self.relu_conv_norm
        values = {0: make(before, f"{key}.preprocess.before"), 1: self.relu_conv_norm(last, f"{key}.preprocess.last")}
        for node in self.nodes:
            values[node] = 0
            for row, (source, target) in enumerate(self.edges):
                if target != node:
                    continue
                stride = 2 if kind == "reduce" and source in (0, 1) else 1
                y = self.edge(values[source], f"{key}.edges.{row}", stride, self.options[kind][row], weights[row])
                factor = 1 if edge_weights is None else edge_weights[node - 2, source]
                values[node] = values[node] + factor * y
        return torch.cat([values[node] for node in self.nodes], 1)

    def __call__(self, x, mixing, layers, stem):
        if stem == "cifar":
            before = last = self.norm(F.conv2d(x, self.state["stem.conv.weight"], padding=1), "stem.norm")
        else:
            y = self.norm(F.conv2d(x, self.state["stem.quarter.0.weight"], None, 2, 1), "stem.quarter.1")
            y = F.conv2d(F.relu(y), self.state["stem.quarter.3.weight"], None, 2, 1)
            before = self.norm(y, "stem.quarter.4")
            last = F.conv2d(F.relu(before), self.state["stem.eighth.1.weight"], None, 2, 1)
            last = self.norm(last, "stem.eighth.2")
        halve_before = stem == "imagenet"
        for k in range(layers):
            kind = "reduce" if k in REDUCTIONS[layers] else "normal"
            out = self.cell(k, kind, before, last, halve_before, mixing[kind], mixing.get(f"{kind}_edge"))
            before, last, halve_before = last, out, kind == "reduce"
        y = last.flatten(2).sum(2) / last[0, 0].numel()
        return y @ self.state["classifier.weight"].T + self.state["classifier.bias"]


def scramble(module, seed=0):
    """Give every normalisation statistics and affine values that are not the defaults."""
    rng = torch.Generator().manual_seed(seed)
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(generator=rng)
        norm.running_var.uniform_(0.5, 2, generator=rng)
        if norm.affine:
            norm.weight.data.uniform_(0.5, 2, generator=rng)
            norm.bias.data.normal_(generator=rng)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(
    ("name", "sizes", "size"),
    [(name, {}, 8) for name in NOISELESS]
    + [("darts", {"layers": 5, "in_channels": 1}, 8), ("s2", {"stem": "imagenet", "layers": 3}, 32)],
)
def test_against_loops(name, sizes, size, training):
    space = build_space(name)
    sizes = TINY | {"stem": "cifar"} | sizes
    supernet = tiny_supernet(space, **sizes).train(training)
    scramble(supernet)
    mixing, x = random_mixing(space, 1), images(3, size, sizes["in_channels"])
    state = {key: value.clone() for key, value in supernet.state_dict().items()}
    with torch.no_grad():
        expected = Loops(state, name, training)(x, mixing, sizes["layers"], sizes["stem"])
        logits = supernet(x, mixing)
    assert expected.std() > 1e-3  # the comparison says something
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(("divisor", "edge_weights"), [(2, False), (4, True), (1, True)])
def test_partial_channels_and_edge_weights_against_loops(divisor, edge_weights, training):
    space = build_space("s3").variant(partial_channels=divisor, edge_weights=edge_weights)
    supernet = tiny_supernet(space).train(training)
    scramble(supernet)
    mixing, x = random_mixing(space, 1), images(3)
    assert len(mixing) == (4 if edge_weights else 2)
    state = {key: value.clone() for key, value in supernet.state_dict().items()}
    with torch.no_grad():
        expected = Loops(state, "s3", training, divisor)(x, mixing, 4, "cifar")
        logits = supernet(x, mixing)
    assert expected.std() > 1e-3
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)


def test_gradient_of_the_edge_weights_against_finite_differences():
    space = build_space("s3").variant(partial_channels=2, edge_weights=True)
    supernet = tiny_supernet(space, layers=3).eval()
    x = images(2)
    logits = {name: weights.sin() for name, weights in random_mixing(space, 2).items()}

    def loss(arch):
        mixing = {name: a.masked_fill(~space.choices[name].mask, -torch.inf).softmax(1) for name, a in arch.items()}
        return supernet(x, mixing).square().sum()

    leaves = {name: value.clone().requires_grad_() for name, value in logits.items()}
    loss(leaves).backward()
    with torch.no_grad():
        for name, row, column in (("normal_edge", 0, 1), ("normal_edge", 3, 4), ("reduce_edge", 2, 0)):
            ends = []
            for step in (1e-5, -1e-5):
                moved = {key: value.clone() for key, value in logits.items()}
                moved[name][row, column] += step
                ends.append(loss(moved).item())
            slope = (ends[0] - ends[1]) / 2e-5
            assert slope != 0
            assert leaves[name].grad[row, column].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)
    for name in ("normal_edge", "reduce_edge"):
        assert leaves[name].grad[~space.choices[name].mask].eq(0).all()


def test_gradient_of_the_mixing_weights_against_finite_differences():
    space = build_space("s3")
    supernet = tiny_supernet(space, layers=3).eval()
    x, mixing = images(2), random_mixing(space)
    leaves = {name: value.clone().requires_grad_() for name, value in mixing.items()}
    supernet(x, leaves).square().sum().backward()
    with torch.no_grad():
        for name, row, column in (("normal", 3, 1), ("normal", 12, 2), ("reduce", 0, 1), ("reduce", 9, 2)):
            ends = []
            for step in (1e-5, -1e-5):
                moved = {key: value.clone() for key, value in mixing.items()}
                moved[name][row, column] += step
                ends.append(supernet(x, moved).square().sum().item())
            slope = (ends[0] - ends[1]) / 2e-5
            assert leaves[name].grad[row, column].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_noise_of_every_edge_is_its_own_and_keyed():
    class Listener(Regularizer):
        def on_op(self, y, op, edge):
            if op == "noise":
                heard.append(y)
            return y

    space = build_space("s4")
    supernet = tiny_supernet(space)
    supernet.attach((Listener(),))
    passes = []
    for step in (0, 0, 1):
        heard = []
        with draws.keyed(0, step, "train"):
            supernet(images(), random_mixing(space))
        passes.append(heard)
    assert len(passes[0]) == 4 * 14
    assert all(torch.equal(a, b) for a, b in zip(passes[0], passes[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(passes[0], passes[2], strict=True))
    assert len({tuple(noise.flatten()[:8].tolist()) for noise in passes[0]}) == 4 * 14


# ----------------------------------------------------------------------------- supernet against discrete network
def one_hot(space, genotype):
    """Mixing and switches of a genotype's edges alone."""
    mixing, active = {}, {}
    for name, choice in space.choices.items():
        mixing[name] = torch.zeros(choice.num_rows, choice.num_options, dtype=torch.float64)
        for node, op, source in genotype.cells[name]:
            row = [*zip(choice.nodes, choice.sources, strict=True)].index((node, source))
            mixing[name][row, choice.options[row].index(op)] = 1
        active[name] = mixing[name] == 1
    return mixing, active


def copy_chosen(supernet, network, space, genotype):
    """Load the chosen operations of a supernet into the discrete network; affine weights keep their defaults."""

    def load(source, target):
        missing, unexpected = target.load_state_dict(source.state_dict(), strict=False)
        assert not unexpected
        affine = {
            f"{name}.{part}".removeprefix(".")
            for name, module in target.named_modules()
            if isinstance(module, nn.BatchNorm2d)
            for part in ("weight", "bias")
        }
        assert set(missing) <= affine

    load(supernet.stem, network.stem)
    load(supernet.classifier, network.classifier)
    for search, discrete in zip(supernet.cells, network.cells, strict=True):
        choice = search.choice
        load(search.preprocess, discrete.preprocess)
        edges = genotype.cells[choice.name]
        for operation, (node, op, source) in zip(discrete.operations, edges, strict=True):
            row = [*zip(choice.nodes, choice.sources, strict=True)].index((node, source))
            load(search.edges[row].operations[choice.options[row].index(op)], operation)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["s2", "s3", "darts"])
def test_one_hot_supernet_is_the_discrete_network(name, seed):
    space = build_space(name)
    genotype = random_genotype(space, seed, avoid="pool")  # the supernet normalises pools, the network does not
    assert not any("pool" in op for edges in genotype.cells.values() for _, op, _ in edges)
    supernet = tiny_supernet(space, seed)
    scramble(supernet, seed)
    network = space.network(genotype, **TINY).double()
    copy_chosen(supernet, network, space, genotype)
    mixing, active = one_hot(space, genotype)
    x = images(seed=seed)
    for training in (False, True, False):  # the second eval pass reads the statistics that train mode moved
        supernet.train(training)
        network.train(training)
        expected = network(x)
        assert expected.std() > 1e-3
        torch.testing.assert_close(supernet(x, mixing, active), expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(
            supernet.eval()(x, mixing), network.eval()(x), rtol=0, atol=1e-10
        )  # all running, the others by zero: the same function, but not the same work


# --------------------------------------------------------------------------------------------------- switches
def counters(operation):
    return [int(m.num_batches_tracked) for m in operation.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["s1", "darts"])
def test_inactive_options_are_not_run_and_get_no_gradient(name):
    space = build_space(name)
    supernet = tiny_supernet(space)
    rng = torch.Generator().manual_seed(3)
    active = {
        key: torch.rand(choice.num_rows, choice.num_options, generator=rng) < 0.5
        for key, choice in space.choices.items()
    }
    ran = []
    for cell in supernet.cells:
        for edge in cell.edges:
            for operation in edge.operations:
                operation.register_forward_hook(lambda module, *_: ran.append(id(module)))
    mixing = {key: value.requires_grad_() for key, value in random_mixing(space).items()}
    supernet(images(), mixing, active).square().sum().backward()
    expected = []
    for cell in supernet.cells:
        for row, edge in enumerate(cell.edges):
            for column, operation in enumerate(edge.operations):
                on = bool(active[cell.choice.name][row, column])
                expected += [id(operation)] * on
                assert all(count == on for count in counters(operation))
                assert on or all(p.grad is None for p in operation.parameters())
                # the last node of the last cell is always read, so what feeds it has a gradient
                if on and cell is supernet.cells[-1] and cell.choice.nodes[row] == 5:
                    assert all(p.grad is not None for p in operation.parameters())
    assert sorted(ran) == sorted(expected)
    for key, value in mixing.items():
        assert value.grad[~active[key]].eq(0).all()


def test_weight_zero_alone_switches_nothing_off():
    space = build_space("s2")
    supernet = tiny_supernet(space)
    mixing = {key: torch.tensor([[1.0, 0.0]]).double().repeat(14, 1) for key in space.choices}
    supernet(images(), mixing).sum().backward()
    for cell in supernet.cells:
        for edge in cell.edges:
            separable = edge.operations[1]
            assert counters(separable) == [1, 1]
            assert all(p.grad is not None and p.grad.eq(0).all() for p in separable.parameters())


def test_switching_off_equals_weight_zero_on_what_is_computed():
    space = build_space("darts")
    supernet = tiny_supernet(space).eval()
    scramble(supernet)
    mixing = random_mixing(space)
    active = {key: torch.rand(14, 8, generator=torch.Generator().manual_seed(5)) < 0.6 for key in mixing}
    zeroed = {key: value * active[key] for key, value in mixing.items()}
    with torch.no_grad():
        expected = supernet(images(), zeroed)
        torch.testing.assert_close(supernet(images(), mixing, active), expected, rtol=0, atol=1e-10)
        assert not torch.allclose(supernet(images(), mixing), expected)


@pytest.mark.parametrize("kind", ["normal", "reduce"])
def test_a_node_with_everything_inactive_yields_zeros_of_the_right_shape(kind):
    space = build_space("s2")
    supernet = tiny_supernet(space)
    active = {key: choice.mask.clone() for key, choice in space.choices.items()}
    active[kind][2:5] = False  # everything into node 3
    outputs = []
    for cell in supernet.cells:
        cell.register_forward_hook(lambda module, _, out: outputs.append((module.choice.name, out)))
    logits = supernet(images(), random_mixing(space), active)
    assert logits.shape == (4, 3)
    assert logits.isfinite().all()
    for index, (name, out) in enumerate(outputs):
        channels, size = [(4, 8), (8, 4), (16, 2), (16, 2)][index]
        assert out.shape == (4, 4 * channels, size, size)
        parts = out.split(channels, dim=1)
        assert [part.eq(0).all().item() for part in parts] == [False, name == kind, False, False]


def test_everything_inactive_leaves_the_bias():
    space = build_space("s5")
    supernet = tiny_supernet(space)
    active = {key: torch.zeros_like(choice.mask) for key, choice in space.choices.items()}
    logits = supernet(images(), random_mixing(space), active)
    assert torch.equal(logits, supernet.classifier.bias.expand(4, 3))


# ------------------------------------------------------------------------------------------------------- hooks
class Recorder(Regularizer):
    def __init__(self):
        self.ops, self.edges = [], []

    def on_op(self, y, op, edge):
        self.ops.append((op, edge, tuple(y.shape)))
        return y

    def on_edge(self, y, x, edge):
        self.edges.append((edge, tuple(y.shape)))
        return y


@pytest.mark.parametrize("name", SPACES)
def test_hooks_see_every_operation_and_every_edge_once(name):
    space, recorder = build_space(name), Recorder()
    supernet = tiny_supernet(space)
    supernet.attach((recorder,))
    supernet(images(), random_mixing(space))
    config = space_config(name)
    edges = [edge for edge in EDGES if edge[1] < 2 + config["num_nodes"]]
    ops, seen = [], []
    for cell, (kind, channels, size) in enumerate(
        [("normal", 4, 8), ("reduce", 8, 4), ("reduce", 16, 2), ("normal", 16, 2)]
    ):
        for row, (source, node) in enumerate(edges):
            stride = 2 if kind == "reduce" and source < 2 else 1
            place = (kind, cell, row, source, node, stride, channels)
            shape = (4, channels, size, size)
            seen.append((place, shape))
            lists = config["operations"]
            ops += [(op, place, shape) for op in (lists[kind][row] if isinstance(lists, dict) else lists)]

    def place(edge):
        return edge.choice, edge.cell, edge.row, edge.source, edge.node, edge.stride, edge.channels

    assert [(op, place(edge), shape) for op, edge, shape in recorder.ops] == ops
    assert [(place(edge), shape) for edge, shape in recorder.edges] == seen


def test_hooks_meet_an_edge_before_it_is_weighted():
    space = build_space("s2").variant(edge_weights=True)
    supernet, recorder = tiny_supernet(space), Recorder()
    supernet.attach((recorder,))
    mixing = random_mixing(space)
    mixing["normal_edge"] = torch.zeros_like(mixing["normal_edge"])
    outputs = []
    supernet.cells[0].register_forward_hook(lambda _, __, out: outputs.append(out))
    supernet(images(), mixing)
    assert outputs[0].eq(0).all()  # every edge of the cell weighs nothing, yet all of them were computed and seen
    assert len(recorder.edges) == 4 * 14


def test_hooks_do_not_see_what_is_inactive():
    space, recorder = build_space("s2"), Recorder()
    supernet = tiny_supernet(space)
    supernet.attach((recorder,))
    active = {key: choice.mask.clone() for key, choice in space.choices.items()}
    active["normal"][0, 1] = False  # one operation
    active["reduce"][4] = False  # one edge
    supernet(images(), random_mixing(space), active)
    assert len(recorder.ops) == 4 * 28 - 2 - 2 * 2
    assert len(recorder.edges) == 4 * 14 - 2
    assert not any(e.choice == "normal" and e.row == 0 and op == "sep_conv_3x3" for op, e, _ in recorder.ops)
    assert not any(e.choice == "reduce" and e.row == 4 for e, _ in recorder.edges)


class Affine(Regularizer):
    """y → scale·y + shift, on operations or on edges."""

    def __init__(self, where, scale, shift):
        self.where, self.scale, self.shift = where, scale, shift

    def on_op(self, y, op, edge):
        return self.scale * y + self.shift if self.where == "op" else y

    def on_edge(self, y, x, edge):
        return self.scale * y + self.shift if self.where == "edge" else y


@pytest.mark.parametrize("where", ["op", "edge"])
def test_hooks_change_outputs_in_the_order_of_the_parts(where):
    space = build_space("s1")
    supernet = tiny_supernet(space)
    mixing = random_mixing(space)
    cell, weights = supernet.cells[0], mixing["normal"]
    x = images(channels=12)

    def run(*parts):
        return cell.edges[0](x[:, :4], weights[0], [True, True], parts)

    plain, total = run(), 1.0  # the weights of a row add up to one
    torch.testing.assert_close(run(Affine(where, 3, 0)), 3 * plain)
    torch.testing.assert_close(run(Affine(where, 1, 5)), plain + 5 * total)
    torch.testing.assert_close(run(Affine(where, 1, 5), Affine(where, 2, 0)), 2 * (plain + 5 * total))
    torch.testing.assert_close(run(Affine(where, 2, 0), Affine(where, 1, 5)), 2 * plain + 5 * total)


@pytest.mark.parametrize("where", ["op", "edge"])
def test_operations_meet_their_hooks_before_they_are_weighted(where):
    # With weights that add up to two, a shift on the operations arrives twice, one on the edge once.
    space = build_space("s1")
    edge = tiny_supernet(space).cells[0].edges[3]
    x, weights = images(channels=4), torch.tensor([1.5, 0.5], dtype=torch.float64)
    plain = edge(x, weights, [True, True], ())
    shifted = edge(x, weights, [True, True], (Affine(where, 1, 1),))
    torch.testing.assert_close(shifted - plain, torch.full_like(plain, 2.0 if where == "op" else 1.0))


def test_attached_parts_act_in_the_whole_supernet_and_can_be_replaced():
    space = build_space("s2")
    supernet, mixing = tiny_supernet(space), random_mixing(space)
    plain = supernet(images(), mixing)
    doubled = supernet(images(), {key: 2 * value for key, value in mixing.items()})
    for where in ("op", "edge"):
        supernet.attach((Affine(where, 2, 0),))
        torch.testing.assert_close(supernet(images(), mixing), doubled)
    assert not torch.allclose(plain, doubled)
    supernet.attach(())
    torch.testing.assert_close(supernet(images(), mixing), plain)


class LearnableFirst(nn.Module, Regularizer):
    def __init__(self):
        super().__init__()
        self.sigma = nn.Parameter(torch.ones((), dtype=torch.float64))

    def on_edge(self, y, x, edge):
        return y * self.sigma


class HooksFirst(Regularizer, nn.Module):
    def __init__(self):
        super().__init__()
        self.sigma = nn.Parameter(torch.ones((), dtype=torch.float64))

    def on_op(self, y, op, edge):
        return y * self.sigma


@pytest.mark.parametrize("part_class", [LearnableFirst, HooksFirst])
def test_learnable_parts_join_the_weights_and_the_state(part_class):
    space, part = build_space("s2"), part_class()
    assert isinstance(part, Regularizer)
    supernet = tiny_supernet(space)
    before = set(map(id, supernet.parameters()))
    supernet.attach((Recorder(), part))
    assert [p for p in supernet.parameters() if id(p) not in before] == [part.sigma]
    assert sum(key.endswith("sigma") for key in supernet.state_dict()) == 1
    supernet(images(), random_mixing(space)).square().sum().backward()
    assert part.sigma.grad.abs() > 0


# ------------------------------------------------------------------------------------------------------- sizes
@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_depths(name, layers):
    space = build_space(name)
    supernet = space.supernet(7, in_channels=1, init_channels=2, layers=layers)
    mixing = {key: choice.uniform() for key, choice in space.choices.items()}
    assert [index for index, cell in enumerate(supernet.cells) if cell.choice.name == "reduce"] == sorted(
        REDUCTIONS[layers]
    )
    assert supernet(torch.randn(2, 1, 8, 8), mixing).shape == (2, 7)


@pytest.mark.parametrize(("size", "channels"), [((8, 12), 6), ((16, 4), 2)])
def test_image_shapes_and_widths(size, channels):
    space = build_space("s3")
    mixing = {key: choice.uniform() for key, choice in space.choices.items()}
    supernet = space.supernet(2, init_channels=channels, layers=3)
    assert supernet(torch.randn(2, 3, *size), mixing).shape == (2, 2)
    assert supernet.classifier.in_features == 4 * 4 * channels  # four nodes, two reductions


def test_the_supernet_holds_no_architecture_parameters():
    supernet = build_space("darts").supernet(layers=2, init_channels=2)
    assert {name.split(".")[0] for name, _ in supernet.named_parameters()} == {"stem", "cells", "classifier"}
    assert not any(p.shape == (14, 8) for p in supernet.parameters())
