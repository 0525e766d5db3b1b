"""The fast engine against the plain one: values, gradients and buffers, whatever acts inside or differentiates.

Both ways in which it computes a cell are tested on the CPU: node by node, which is its own, and in waves.
"""

import copy
import math
from collections import Counter
from contextlib import nullcontext
from functools import cache

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional as F
from torch.nn.utils import parametrize, prune

from cases import SPACES, build_space, images, random_mixing, seeded, tiny_supernet
from nas_lightning.core import draws
from nas_lightning.core.functional import batch_statistics, frozen_batch_stats, plain_autograd
from nas_lightning.curvature import hessian, measure
from nas_lightning.hypergradients import Bilevel, FirstOrder, SGDStep, Unrolled
from nas_lightning.regularizers import DropPath, Noise, Regularizer, SkipDropPath
from nas_lightning.spaces import CellSpace, NasBench201Space, operation_terms, operations
from nas_lightning.spaces.macro import CellPlan
from nas_lightning.spaces.mixed import Mix, MixedCell, MixedOperation
from nas_lightning.spaces.node_by_node import node_by_node
from nas_lightning.spaces.operations import OPERATIONS, FactorizedReduce, Identity, Zero
from nas_lightning.spaces.supernet import SearchCell
from nas_lightning.spaces.waves import waves

EVERY = tuple(OPERATIONS)
"""All operations there are on every edge: no space has that, every edge of one is a part of it."""
SOME = ("none", "skip_connect", "max_pool_3x3", "sep_conv_5x5", "dil_conv_3x3")


class Current:
    """The way that the running test is about."""

    way = node_by_node


def in_waves(cell, inputs, mix):
    """What other devices than the CPU compute."""
    return (node_by_node if torch._C._are_functorch_transforms_active() else waves)(cell, inputs, mix)


@pytest.fixture(autouse=True, params=[node_by_node, in_waves], ids=["node by node", "waves"])
def _way(request):
    Current.way = request.param


@cache
def space_of(options=SOME, num_nodes=2, **changes):
    return CellSpace("mixed", options, num_nodes=num_nodes).variant(**changes)


def scramble(net, seed=0):
    """Running statistics, which start alike, then differ between edges; so do affine values."""
    rng = seeded(seed)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(generator=rng)
        norm.running_var.uniform_(0.5, 2, generator=rng)
        if norm.affine:
            nn.init.normal_(norm.weight, 1, 0.2, generator=rng)
            nn.init.normal_(norm.bias, generator=rng)


def of_two_cells(net):
    """Of three cells the first is normal and both others reduce: one of these is enough."""
    del net.cells[2]
    net.classifier = nn.Linear(net.classifier.in_features // 2, net.classifier.out_features)
    for parameter in net.classifier.parameters():
        nn.init.normal_(parameter, generator=seeded(3))
    return net.double()


def build_pair(space, layers, **sizes):
    """The same supernet with the plain and with the fast engine."""
    nets = []
    for engine in ("reference", "fast"):
        net = tiny_supernet(space, engine=engine, layers=layers or 3, **sizes)
        for cell in (cell for cell in net.cells if engine == "fast" and isinstance(cell, MixedCell)):
            cell.engine = Current.way
        nets.append(net if layers else of_two_cells(net))
        scramble(net)
    assert len({id(net.cells[0].engine) for net in nets}) == 2
    return nets


@cache
def kept_pair(space, layers, sizes, way):
    """To build networks takes longer than to use them."""
    nets = build_pair(space, layers, **dict(sizes))
    return nets, [copy.deepcopy(net.state_dict()) for net in nets]


def pair(space, training=True, parts=(), layers=None, fresh=False, **sizes):
    """Networks as if they were new: truly `fresh` ones where their modules are changed; `parts` make regularizers."""
    if fresh:
        nets = build_pair(space, layers, **sizes)
    else:
        nets, states = kept_pair(space, layers, tuple(sizes.items()), Current.way)
        for net, state in zip(nets, states, strict=True):
            net.attach(())
            net.double().requires_grad_().zero_grad()
            net.load_state_dict(state)
    for net in nets:
        made = tuple(part() for part in parts)
        for part in made:
            part.build(space)
        net.attach(made)
        net.double().train(training)
    return nets


def mixing_of(space, offsets=False):
    mixing = random_mixing(space)
    if offsets:
        for name, choice in space.choices.items():
            if choice.kind == "op":
                mixing[f"{name}.offset"] = torch.linspace(-0.5, 0.5, choice.num_rows, dtype=torch.float64)
    return mixing


def leaves_of(tensors):
    return {name: x.detach().clone().requires_grad_() for name, x in tensors.items()}


def passed(net, mixing, x=None, active=None, context=nullcontext):
    """Output, gradients of everything that wants one, and buffers of a forward and a backward pass."""
    x = images() if x is None else x
    mixing, x = leaves_of(mixing), x.detach().clone().requires_grad_()
    with draws.keyed(0, 0, "pass"), context():
        outputs = net(x, mixing, active)
    weights = {name: p for name, p in net.named_parameters() if p.requires_grad}
    wanted = {**mixing, "x": x, **weights}
    slope = torch.randn(outputs.shape, generator=seeded(9), dtype=torch.float64).to(outputs.dtype)
    found = torch.autograd.grad(outputs, list(wanted.values()), slope, allow_unused=True)
    gradients = {
        f"gradient of {name}": torch.zeros_like(leaf) if g is None else g
        for (name, leaf), g in zip(wanted.items(), found, strict=True)
    }
    return {"outputs": outputs.detach(), **gradients, **buffers_of(net)}


def buffers_of(net):
    return {f"buffer {name}": buffer.clone() for name, buffer in net.named_buffers()}


def assert_same(fast, reference, tolerance=1e-9):
    """Equal up to the tolerance, relative to 1 or to the largest number of a tensor."""
    assert fast.keys() == reference.keys()
    assert any(value.abs().max() > 1e-3 for value in reference.values())
    distances = {}
    for name, expected in reference.items():
        assert fast[name].shape == expected.shape, name
        scale = expected.abs().max().clamp(min=1)
        distances[name] = ((fast[name] - expected).abs().max() / scale).item()
    assert {name: d for name, d in distances.items() if not d <= tolerance} == {}


def assert_engines_agree(space, *arguments, mixing=None, change=None, context=lambda net: nullcontext(), **named):
    """`change` does something to both networks, `context` surrounds their forward pass."""
    keys = ("training", "parts", "layers", "init_channels", "stem")
    nets = pair(space, fresh=change is not None, **{key: named.pop(key) for key in keys if key in named})
    mixing = mixing_of(space) if mixing is None else mixing
    found = []
    for net in nets:
        if change is not None:
            change(net)
        found.append(passed(net, mixing, *arguments, context=lambda net=net: context(net), **named))
    reference, fast = found
    assert reference["outputs"].std() > 1e-3
    assert_same(fast, reference)
    return reference


# ------------------------------------------------------------------------------------------------- spaces and modes
@cache
def known(name):
    return NasBench201Space() if name == "nasbench201" else build_space(name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [*SPACES, "nasbench201"])
def test_every_space(name, training):
    if name == "nasbench201":
        assert_engines_agree(known("nasbench201"), training=training, layers=1)
    elif (name, training) not in {("darts", False), ("darts_nonone", True)}:  # the same operations: once is enough
        assert_engines_agree(known(name), training=training)


@pytest.mark.parametrize("training", [True, False])
def test_every_operation(training):
    assert_engines_agree(space_of(EVERY), training=training)


@pytest.mark.parametrize("training", [True, False])
def test_every_operation_the_plain_way(training):
    """What other devices compute, too."""
    assert_engines_agree(space_of(EVERY, 2 if training else 1), training=training, context=lambda net: plain_autograd())


@pytest.mark.parametrize(("training", "context"), [(True, frozen_batch_stats), (False, batch_statistics)])
def test_statistics_of_the_batch_that_move_nothing(training, context):
    assert_engines_agree(space_of(EVERY, 1), training=training, context=context)


@pytest.mark.parametrize("training", [True, False])
def test_wide_cells_compute_their_pointwise_convolutions(monkeypatch, training):
    monkeypatch.setattr(operation_terms, "GRAM_CHANNELS", 4)  # the first cell is that narrow, the others are not
    assert_engines_agree(space_of(EVERY), training=training)


@pytest.mark.parametrize(("channels", "divisor"), [(2, 2), (4, 4)])
def test_down_to_a_single_channel(channels, divisor):
    assert_engines_agree(space_of(EVERY, 1, partial_channels=divisor, edge_weights=True), init_channels=channels)


# ------------------------------------------------------------------------------------------------------ regularizers
class Protocol(Regularizer):
    """A user's own part that knows nothing of `acts_on`."""

    def build(self, space):
        return space

    def on_op(self, y, op, edge):
        return 1.5 * y + 0.1 * edge.row + 0.01 * len(op)

    def on_edge(self, y, x, edge):
        return y.tanh() + 0.01 * edge.cell

    def on_images(self, images):
        return images

    def at_epoch(self, search_epoch):
        pass

    def metrics(self):
        return {}

    def parameters(self):
        return iter(())


class OnOperations(Regularizer):
    def on_op(self, y, op, edge):
        return y.sin() + 0.1


class OnEdges(Regularizer):
    def on_edge(self, y, x, edge):
        return y.sin()


class OnOneOperation(Regularizer):
    def acts_on(self, op):
        return op == "skip_connect"

    def on_op(self, y, op, edge):
        return y * y if op == "skip_connect" else y


class LouderNoise(Noise):
    """Changes more than the part that it inherits `acts_on` from."""

    def on_op(self, y, op, edge):
        return 2 * super().on_op(y, op, edge)


class LateDropPath(DropPath):
    def on_edge(self, y, x, edge):
        return super().on_edge(y, x, edge).tanh()


class Scales(Regularizer, nn.Module):
    """A learnable scale of every edge."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.7))

    def on_edge(self, y, x, edge):
        return self.scale * y


def drop_path():
    part = DropPath(0.4, epochs=2)
    part.at_epoch(1)
    return part


PARTS = {
    "none": (),
    "skip noise": (Noise,),
    "noise on all": (lambda: Noise("all", 0.5),),
    "learnable noise": (lambda: Noise("all", 0.5, learnable=True),),
    "multiplicative noise": (lambda: Noise("all", 0.5, form="multiplicative"),),
    "drop-path": (drop_path,),
    "skip drop-path": (lambda: SkipDropPath(0.4),),
    "noise, both drop-paths": (Noise, lambda: SkipDropPath(0.4), drop_path),
    "a user's": (Protocol,),
    "a user's on operations": (OnOperations,),
    "a user's on edges": (OnEdges,),
    "a user's on one operation": (OnOneOperation,),
    "a user's that learns": (Scales,),
    "a user's after ours": (Noise, drop_path, Protocol),
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", PARTS)
def test_every_regularizer(name, whole):
    space = space_of() if whole else space_of(num_nodes=1, partial_channels=2, edge_weights=True)
    assert_engines_agree(space, parts=PARTS[name], mixing=mixing_of(space, offsets=not whole))


@pytest.mark.parametrize("name", ["none", "noise, both drop-paths", "a user's"])
def test_edge_weights_of_many_edges(name):
    assert_engines_agree(space_of(edge_weights=True), parts=PARTS[name])


@pytest.mark.parametrize(
    "parts", [(), (lambda: SkipDropPath(0.4, in_validation=True),), (drop_path, Noise), (Protocol,)]
)
def test_regularizers_in_evaluation_mode(parts):
    space = space_of(num_nodes=1, partial_channels=2, edge_weights=True)
    assert_engines_agree(space, training=False, parts=parts, mixing=mixing_of(space, offsets=True))


@pytest.mark.parametrize("part", [LouderNoise, LateDropPath])
def test_a_part_that_overrides_a_hook_of_ours_is_heard(part):
    assert_engines_agree(space_of(num_nodes=1), parts=(part,))


def test_parts_see_the_same_outputs_node_by_node_in_the_same_order():
    class Recorder(Protocol):
        def __init__(self):
            self.seen = []

        def on_op(self, y, op, edge):
            self.seen.append((op, edge, y.detach().double().norm().item()))
            return y

        def on_edge(self, y, x, edge):
            self.seen.append(("edge", edge, y.detach().double().norm().item()))
            return y

    space, recorders = space_of(EVERY, partial_channels=2), []
    for net in pair(space):
        recorders.append(Recorder())
        net.attach((recorders[-1],))
        passed(net, random_mixing(space))
    reference, fast = (recorder.seen for recorder in recorders)
    if Current.way is in_waves:  # which call hooks wave by wave
        order = lambda seen: (seen[1].cell, seen[1].row, seen[0])  # noqa: E731
        reference, fast = sorted(reference, key=order), sorted(fast, key=order)
    assert [seen[:2] for seen in fast] == [seen[:2] for seen in reference]
    assert [seen[2] for seen in fast] == pytest.approx([seen[2] for seen in reference], rel=1e-9)


# ----------------------------------------------------------------------------------------------------------- switches
def switches(space, kind):
    active = {name: choice.mask.clone() for name, choice in space.choices.items()}
    for name, mask in active.items():
        if kind == "random":
            mask &= torch.rand(mask.shape, generator=seeded(4)) < 0.4
        elif kind == "one-hot":
            mask &= F.one_hot(torch.arange(len(mask)) % mask.shape[1], mask.shape[1]).bool()
        elif kind == "a node off":
            mask[:2] = False
        elif kind == "an edge of none":
            mask[1, 1:] = False
        elif kind == "a node of none":
            mask[2:, 1:] = False
        elif kind == "nothing but none":
            mask[:, 1:] = False
        assert kind == "all" or not mask.all(), name
    return active


@pytest.mark.parametrize(("divisor", "parts"), [(1, ()), (2, (Protocol,))], ids=["plain", "partial and hooked"])
@pytest.mark.parametrize("kind", ["random", "one-hot", "a node off", "an edge of none", "a node of none"])
def test_switches(kind, divisor, parts):
    space = space_of(partial_channels=divisor)
    assert_engines_agree(space, active=switches(space, kind), parts=parts, mixing=mixing_of(space, offsets=divisor > 1))


@pytest.mark.parametrize("divisor", [1, 2])
def test_nothing_but_none(divisor):
    space = space_of(partial_channels=divisor)
    reference, fast = (passed(net, mixing_of(space), None, switches(space, "nothing but none")) for net in pair(space))
    assert_same(fast, reference)


def test_the_same_weights_have_a_gradient():
    space = space_of()
    without = []
    for net in pair(space):
        mixing = leaves_of(random_mixing(space))
        net(images(), mixing, switches(space, "random")).sin().sum().backward()
        assert all(weights.grad is not None for weights in mixing.values())
        without.append([name for name, p in net.named_parameters() if p.grad is None])
    assert without[0] == without[1]
    assert without[0]


# -------------------------------------------------------------------------------------------------------------- sizes
@pytest.mark.parametrize("size", [(2, 2), (4, 4), (6, 6), (8, 12)])  # down to 1×1; odd where the image is halved
def test_sizes(size):
    space = space_of(("sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "max_pool_3x3"))
    assert_engines_agree(space, torch.randn(4, 3, *size, generator=seeded(1), dtype=torch.float64))


def test_odd_images_in_a_reduction_cell():
    assert_engines_agree(build_space("s1"), images(size=7), layers=1)


@pytest.mark.parametrize("size", [(7, 7), (5, 6), (6, 5)])
def test_odd_images_in_a_normal_cell(size):
    """Whole networks refuse them, but phases need even rows and even columns."""
    space = space_of(("none", "avg_pool_3x3", "skip_connect", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"))
    plan = CellPlan(0, "normal", 4, (4, 4), False)
    x = torch.randn(3, 4, *size, generator=seeded(1), dtype=torch.float64)
    found = []
    for net in pair(space):
        torch.manual_seed(0)
        cell = SearchCell(space.choices["normal"], plan, (2, 3), 1, net.cells[0].engine).double()
        mix = Mix(random_mixing(space)["normal"], [[True] * 6] * 5)
        with draws.keyed(0, 0, "pass"):
            y = cell(x, x.flip(0), mix)
        found.append({"y": y.detach(), **dict(enumerate(torch.autograd.grad(y.sin().sum(), list(cell.parameters()))))})
    assert_same(found[1], found[0])


def test_the_imagenet_stem():
    assert_engines_agree(space_of(num_nodes=1), images(size=32), layers=2, stem="imagenet")


def test_layouts_of_the_images():
    space = space_of(num_nodes=1)
    net = pair(space)[1].eval()
    contiguous = passed(net, random_mixing(space))
    assert_same(passed(net, random_mixing(space), images().to(memory_format=torch.channels_last)), contiguous)


# ------------------------------------------------------------------------------------------------------ other modules
def replace_norms(make, within=lambda name: True):
    def change(net):
        for name, module in list(net.named_modules()):
            for key, norm in list(module.named_children()):
                if isinstance(norm, nn.BatchNorm2d) and within(f"{name}.{key}"):
                    setattr(module, key, make(norm).double().train(norm.training))

    return change


def configure_norms(configure):
    """`configure` gets a number and a normalisation of a cell."""

    def change(net):
        for number, norm in enumerate(m for m in net.cells.modules() if isinstance(m, nn.BatchNorm2d)):
            configure(number, norm)

    return change


def group_norm(norm):
    return nn.GroupNorm(1, norm.num_features)


def affine_norm(norm):
    made = nn.BatchNorm2d(norm.num_features)
    nn.init.constant_(made.weight, 0.7)
    nn.init.constant_(made.bias, 0.2)
    return made


def is_in_the_middle(name):
    return name.split(".")[-1] == "3"  # of a separable convolution


@pytest.mark.parametrize(
    "change",
    [
        replace_norms(group_norm),
        replace_norms(group_norm, is_in_the_middle),
        replace_norms(group_norm, lambda name: not is_in_the_middle(name)),
        replace_norms(affine_norm, lambda name: ".operations." in name),
        replace_norms(lambda norm: nn.BatchNorm2d(norm.num_features, affine=False, track_running_stats=False)),
        configure_norms(lambda number, norm: setattr(norm, "momentum", 0.4)),
        configure_norms(lambda number, norm: setattr(norm, "momentum", None)),
        configure_norms(lambda number, norm: setattr(norm, "momentum", 0.1 * (1 + number % 4))),
        configure_norms(lambda number, norm: setattr(norm, "eps", 1e-3 * (1 + number % 4))),
        configure_norms(lambda number, norm: setattr(norm, "track_running_stats", number % 3 > 0)),
        configure_norms(lambda number, norm: norm.train(number % 3 > 0)),
        lambda net: [cell.edges[1].eval() for cell in net.cells],
    ],
    ids=[
        "group", "group in the middle", "group at the end", "affine", "untracked", "momentum", "cumulative",
        "momenta", "epsilons", "some track", "some in evaluation", "an edge in evaluation",
    ],
)  # fmt: skip
def test_other_normalisations(change):
    assert_engines_agree(
        space_of(("max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5", "nor_conv_1x1"), 1), change=change
    )


def test_synchronised_normalisation():
    convert = replace_norms(nn.SyncBatchNorm.convert_sync_batchnorm)  # runs on the CPU in evaluation mode only
    assert_engines_agree(space_of(), training=False, change=convert)


def test_evaluation_without_running_statistics():
    untracked = replace_norms(lambda norm: nn.BatchNorm2d(norm.num_features, affine=False, track_running_stats=False))
    assert_engines_agree(space_of(), training=False, change=untracked)


class Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x) + x[:, :, :1, :1]


class Doubling(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


class DoubledZero(Zero):
    def forward(self, x):
        return super().forward(x) + 1


class DoubledIdentity(Identity):
    def forward(self, x):
        return 2 * x


class DoubledReduce(FactorizedReduce):
    def forward(self, x):
        return 2 * super().forward(x)


def norm_of(channels):
    return nn.BatchNorm2d(channels, affine=False)


def depthwise_of(channels, size, stride=1, padding=None, dilation=1, make=nn.Conv2d, **options):
    padding = dilation * (size - 1) // 2 if padding is None else padding
    options = {"bias": False, **options}
    return make(channels, channels, size, stride, padding, dilation, groups=channels, **options)


def separable(*layers):
    """ReLU, those layers, 1×1 convolution, normalisation."""
    channels = layers[0].out_channels
    return [nn.ReLU(), *layers, nn.Conv2d(channels, channels, 1, bias=False), norm_of(channels)]


OF_A_USER = {
    "dilation 3": lambda c, s: nn.Sequential(*separable(depthwise_of(c, 3, s, dilation=3))),
    "width 7": lambda c, s: nn.Sequential(*separable(depthwise_of(c, 7, s))),
    "dilated width 7": lambda c, s: nn.Sequential(*separable(depthwise_of(c, 7, s, dilation=2))),
    "two dilated": lambda c, s: nn.Sequential(
        *separable(depthwise_of(c, 3, s, dilation=2)), *separable(depthwise_of(c, 3, dilation=2))
    ),
    "dilated, then not": lambda c, s: nn.Sequential(
        *separable(depthwise_of(c, 3, s, dilation=2)), *separable(depthwise_of(c, 3))
    ),
    "dilated, then a pool": lambda c, s: nn.Sequential(
        nn.ReLU(), depthwise_of(c, 3, s, dilation=2), nn.Conv2d(c, c, 1), nn.AvgPool2d(3, 1, 1), norm_of(c)
    ),
    "circular": lambda c, s: nn.Sequential(*separable(depthwise_of(c, 3, s, padding_mode="circular"))),
    "narrow and wide": lambda c, s: nn.Sequential(
        *separable(depthwise_of(c, (1, 3), (1, s), (0, 1)), depthwise_of(c, (3, 1), (s, 1), (1, 0)))
    ),
    "biases": lambda c, s: nn.Sequential(
        nn.ReLU(), depthwise_of(c, 3, s, bias=True), nn.Conv2d(c, c, 1, bias=True), norm_of(c)
    ),
    "expansion": lambda c, s: nn.Sequential(
        nn.ReLU(), nn.Conv2d(c, 2 * c, 1, bias=False), norm_of(2 * c), nn.ReLU(), depthwise_of(2 * c, 3, s),
        norm_of(2 * c), nn.ReLU(), nn.Conv2d(2 * c, c, 1, bias=False), norm_of(c),
    ),
    "stride at the end": lambda c, s: nn.Sequential(
        nn.ReLU(), depthwise_of(c, 3), nn.Conv2d(c, c, 1, s, bias=False), norm_of(c)
    ),
    "stride in the middle": lambda c, s: nn.Sequential(
        nn.ReLU(), nn.Conv2d(c, c, 1, s, bias=False), norm_of(c), nn.ReLU(), nn.Conv2d(c, c, 1, bias=False), norm_of(c)
    ),
    "padding behind": lambda c, s: nn.Sequential(
        nn.ReLU(), depthwise_of(c, 3, padding=0), nn.Conv2d(c, c, 1, 1, 1, bias=False), nn.AvgPool2d(s), norm_of(c)
    ),
    "no convolution": lambda c, s: nn.Sequential(nn.ReLU(), norm_of(c)) if s == 1 else nn.MaxPool2d(2),
    "another activation": lambda c, s: nn.Sequential(
        nn.ReLU(), nn.Conv2d(c, c, 1, bias=False), norm_of(c), nn.LeakyReLU(), *separable(depthwise_of(c, 3, s))[1:]
    ),
    "own pointwise": lambda c, s: nn.Sequential(
        nn.ReLU(), depthwise_of(c, 3, s), Doubled(c, c, 1, bias=False), norm_of(c)
    ),
    "own depthwise": lambda c, s: nn.Sequential(*separable(depthwise_of(c, 3, s, make=Doubled))),
    "own sequence": lambda c, s: Doubling(*separable(depthwise_of(c, 3, s))),
    "own reduction": lambda c, s: Identity() if s == 1 else DoubledReduce(c, c, affine=False),
    "own none": lambda c, s: DoubledZero(s),
    "own identity": lambda c, s: DoubledIdentity() if s == 1 else FactorizedReduce(c, c, affine=False),
    "own pool": lambda c, s: nn.Sequential(nn.AvgPool2d(3, s, 1, count_include_pad=True), norm_of(c)),
    "own strided pointwise": lambda c, s: nn.Sequential(nn.ReLU(), nn.Conv2d(c, c, 1, s, bias=False), norm_of(c)),
    "own bare pool": lambda c, s: nn.AvgPool2d(3, s, 1, divisor_override=4),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_A_USER)
def test_operations_of_a_user(monkeypatch, name):
    """The engine computes by itself only what it knows."""
    monkeypatch.setitem(
        operations.OPERATIONS, "mine", lambda channels, stride, search, key: OF_A_USER[name](channels, stride)
    )
    space = space_of(("mine", "avg_pool_3x3", "sep_conv_3x3"), 1)
    with torch.random.fork_rng(devices=[]):
        nets = pair(space, fresh=True)
    for training in (True, False):
        reference, fast = (passed(net.train(training), random_mixing(space)) for net in nets)
        assert_same(fast, reference)


def test_operations_of_unknown_make_get_contiguous_images(monkeypatch):
    """In channels_last torch's own strided 1×1 convolutions write out of bounds on the CPU."""
    seen = []

    class Recording(nn.Conv2d):
        def forward(self, x):
            seen.append(x.is_contiguous())
            return super().forward(x)

    monkeypatch.setitem(operations.OPERATIONS, "mine", lambda c, s, search, key: Recording(c, c, 1, s, bias=False))
    space = space_of(("mine", "sep_conv_3x3"), 1)
    with torch.random.fork_rng(devices=[]):
        _, fast = pair(space, fresh=True)
    passed(fast, random_mixing(space))
    assert seen
    assert all(seen)


# -------------------------------------------------------------------------------------------------------------- hooks
TARGETS = {
    "edges": lambda name, module: isinstance(module, MixedOperation),
    "operations": lambda name, module: name.split(".")[-2:-1] == ["operations"],
    "layers": lambda name, module: ".operations." in name and isinstance(module, nn.Conv2d | nn.ReLU | nn.AvgPool2d),
    "normalisations": lambda name, module: ".operations." in name and isinstance(module, nn.BatchNorm2d),
}
REGISTRATIONS = {
    "forward": nn.Module.register_forward_hook,
    "forward pre": nn.Module.register_forward_pre_hook,
    "backward": nn.Module.register_full_backward_hook,
    "backward pre": nn.Module.register_full_backward_pre_hook,
}


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize(
    ("target", "register"),
    [(target, kind) for target in TARGETS for kind in ("forward", "backward")]
    + [("operations", "forward pre"), ("edges", "backward pre")],
)
def test_hooks_of_modules_are_called(target, register):
    space = space_of(("skip_connect", "avg_pool_3x3", "sep_conv_3x3", "dil_conv_3x3"), 1)
    counts = []
    for net in pair(space, fresh=True):
        calls = Counter()
        for name, module in net.named_modules():
            if TARGETS[target](name, module):
                REGISTRATIONS[register](module, lambda *_, name=name, calls=calls: calls.update([name]))
        passed(net, random_mixing(space))
        counts.append(calls)
    assert counts[0]
    assert counts[1] == counts[0]


@pytest.mark.parametrize("parts", [(), (drop_path,), (Protocol,)])
def test_what_hooks_return_counts(parts):
    def change(net):
        for place in (net.cells[0].edges[1], net.cells[1].edges[3], net.cells[1].edges[0].operations[4]):
            place.register_forward_hook(lambda module, inputs, y: 2 * y + 1)
        net.cells[0].edges[0].operations[0].register_forward_hook(lambda module, inputs, y: y + 1)  # `none`

    space = space_of(partial_channels=2, edge_weights=True)
    assert_engines_agree(space, parts=parts, change=change, mixing=mixing_of(space, offsets=True))


def test_pruned_and_parametrised_kernels():
    class Negative(nn.Module):
        def forward(self, x):
            return -x

    def change(net):
        for name, module in list(net.named_modules()):
            if ".operations." in name and isinstance(module, nn.Conv2d):
                if name.endswith(".1"):
                    prune.l1_unstructured(module, "weight", 0.3)  # computes the kernel in a hook
                    with torch.no_grad():
                        module.weight_orig.mul_(2)
                else:
                    parametrize.register_parametrization(module, "weight", Negative())

    assert_engines_agree(space_of(), change=change)


# -------------------------------------------------------------------------------------------------- who differentiates
def second_gradients(outputs, leaves):
    """Gradients and gradients of a function of them."""
    first = torch.autograd.grad(outputs.sin().sum(), leaves, create_graph=True, allow_unused=True)
    second = torch.autograd.grad(sum(g.sin().sum() for g in first if g is not None), leaves, allow_unused=True)
    found = {("first", i): g.detach() for i, g in enumerate(first) if g is not None}
    return found | {("second", i): g for i, g in enumerate(second) if g is not None}


@pytest.mark.parametrize("training", [True, False])
def test_gradients_differentiated_again(training):
    space = space_of((*SOME[1:], "avg_pool_3x3", "nor_conv_1x1"), partial_channels=2)
    found = []
    for net in pair(space, training):
        mixing = leaves_of(random_mixing(space))
        found.append(second_gradients(net(images(), mixing), [*mixing.values(), *net.parameters()]))
    assert_same(found[1], found[0])


@pytest.mark.parametrize("before", [True, False])
def test_gradients_differentiated_again_after_the_mode_has_changed(before):
    """As where the graph is made in `batch_statistics` and differentiated outside."""
    space = space_of(num_nodes=1)
    found = []
    for net in pair(space, before):
        mixing = leaves_of(random_mixing(space))
        outputs = net(images(), mixing)
        net.train(not before)
        found.append(second_gradients(outputs, [*mixing.values(), *net.parameters()]))
    assert_same(found[1], found[0])


@pytest.fixture(name="losses")
def _losses():
    """For each engine the network, its architecture parameters, and the loss of one batch."""
    space, labels = space_of(num_nodes=1), torch.tensor([0, 1, 2, 0])
    found = []
    for net in pair(space):
        arch = {name: 0.3 * weights.log() for name, weights in random_mixing(space).items()}

        def loss(arch, net=net, x=images(), weights=None):  # noqa: B008
            mixing = {name: a.softmax(-1) for name, a in arch.items()}
            outputs = net(x, mixing) if weights is None else functional_call(net, weights, (x, mixing))
            return F.cross_entropy(outputs, labels)

        found.append((net, arch, loss))
    return found


def test_curvature(losses):
    reference, fast = ({"H": hessian(loss, arch, net)} for net, arch, loss in losses)
    assert_same(fast, reference)
    reference, fast = (measure(loss, arch, net) for net, arch, loss in losses)
    assert fast.value == pytest.approx(reference.value, rel=1e-9)
    assert fast.products == reference.products


@pytest.mark.parametrize(
    "estimator", [FirstOrder(), Unrolled(), Unrolled(exact=True)], ids=["first", "finite", "exact"]
)
def test_hypergradients(losses, estimator):
    found = []
    for net, arch, loss in losses:

        def train_loss(weights, arch, net=net, loss=loss):
            with frozen_batch_stats(net):
                return loss(arch, x=images(seed=1), weights=weights)

        def arch_loss(weights, arch, net=net, loss=loss):
            with frozen_batch_stats(net):
                return loss(arch, weights=weights)

        step = SGDStep(0.05, 0.9, 3e-4, [0.1 * torch.ones_like(p) for p in net.parameters()])
        arguments = (dict(net.named_parameters()), leaves_of(arch), step, lambda tensors: tensors)
        gradients, value = estimator(Bilevel(train_loss, arch_loss, *arguments))
        found.append({**gradients, "loss": value})
    # A finite difference of radius 0.01 divides rounding by it.
    assert_same(found[1], found[0], 1e-9 if not isinstance(estimator, Unrolled) or estimator.exact else 1e-7)


TRANSFORMS = {
    "grad": lambda loss, arch: grad(loss)(arch),
    "jvp": lambda loss, arch: dict(enumerate(jvp(loss, (arch,), (arch,)))),
    "vmap": lambda loss, arch: {"losses": vmap(loss)(batched(arch))},
    "vmap of grad": lambda loss, arch: vmap(grad(loss))(batched(arch)),
    "jvp of grad": lambda loss, arch: jvp(grad(loss), (arch,), (arch,))[1],
}


def batched(arch):
    return {name: torch.stack([a, -a, 2 * a]) for name, a in arch.items()}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # torch's own, of its formulas for forward mode
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_of_torch_func(losses, transform, training):
    found = []
    for net, arch, loss in losses:
        net.train(training)
        with frozen_batch_stats(net):
            found.append({name: x.detach() for name, x in TRANSFORMS[transform](loss, arch).items()})
    assert_same(found[1], found[0])


def test_gradients_of_each_image(losses):
    """The images are what is batched."""
    found = []
    for net, arch, _ in losses:
        net.eval()
        mixing = {name: a.softmax(-1) for name, a in arch.items()}
        weights, buffers = ({n: x.detach() for n, x in part()} for part in (net.named_parameters, net.named_buffers))

        def output(weights, x, net=net, buffers=buffers, mixing=mixing):
            return functional_call(net, (weights, buffers), (x[None], mixing)).sin().sum()

        found.append(vmap(grad(output), (None, 0))(weights, images()))
    assert_same(found[1], found[0])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_forward_mode(losses):
    found = []
    for net, arch, loss in losses:
        with torch.autograd.forward_ad.dual_level(), frozen_batch_stats(net):
            dual = {name: torch.autograd.forward_ad.make_dual(a, a.sin()) for name, a in arch.items()}
            found.append({"slope": torch.autograd.forward_ad.unpack_dual(loss(dual)).tangent})
    assert_same(found[1], found[0])


def test_a_batched_backward_pass(losses):
    found = []
    for net, arch, _ in losses:
        leaves = leaves_of(arch)
        outputs = net(images(), {name: a.softmax(-1) for name, a in leaves.items()})
        rows = torch.eye(12, dtype=torch.float64).view(12, *outputs.shape)
        found.append(dict(enumerate(torch.autograd.grad(outputs, list(leaves.values()), rows, is_grads_batched=True))))
    assert_same(found[1], found[0])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("training", [True, False])
def test_without_gradients(mode, training):
    space, found = space_of(EVERY, 1), []
    for net in pair(space, training):
        with mode(), draws.keyed(0, 0, "pass"):
            outputs = net(images(), random_mixing(space))
        assert not outputs.requires_grad
        counts = {int(b) for name, b in net.named_buffers() if name.endswith("num_batches_tracked")}
        assert counts == {int(training)}  # the statistics move here, too
        found.append({"outputs": outputs.clone(), **buffers_of(net)})
    assert_same(found[1], found[0])


def test_two_passes_before_one_backward_pass_and_a_graph_that_is_kept():
    space, found = space_of(), []
    for net in pair(space):
        mixing = leaves_of(random_mixing(space))
        value = net(images(), mixing).sin().sum() + net(images(seed=1), mixing).cos().sum()
        leaves = [*mixing.values(), *net.parameters()]
        first = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
        second = torch.autograd.grad(value, leaves, allow_unused=True)
        found.append({i: g for i, g in enumerate(first) if g is not None} | buffers_of(net))
        assert all(g is h or torch.equal(g, h) for g, h in zip(first, second, strict=True))
    assert_same(found[1], found[0])


def test_weights_and_buffers_from_outside():
    space, found = space_of(num_nodes=1), []
    other = of_two_cells(tiny_supernet(space, 5, layers=3))
    scramble(other, 5)
    for training in (True, False):
        for net in pair(space, training):
            before = buffers_of(net)
            weights = leaves_of(dict(other.named_parameters()))
            buffers = {name: b.clone() for name, b in other.named_buffers()}
            outputs = functional_call(net, (weights, buffers), (images(), random_mixing(space)))
            slopes = torch.autograd.grad(outputs.sin().sum(), list(weights.values()), allow_unused=True)
            assert all(torch.equal(b, before[f"buffer {name}"]) for name, b in net.named_buffers())
            moved = any(not torch.equal(b, buffers[name]) for name, b in other.named_buffers())
            assert moved == training
            found.append(
                {"outputs": outputs.detach(), **{i: g for i, g in enumerate(slopes) if g is not None}, **buffers}
            )
        assert_same(found[-1], found[-2])


def test_weights_that_change_before_the_backward_pass_are_noticed():
    space = space_of(num_nodes=1)
    for net in pair(space):
        mixing = leaves_of(random_mixing(space))
        outputs = net(images(), mixing)
        with torch.no_grad():
            net.cells[1].edges[0].operations[3][2].weight.add_(1)
        if net.cells[0].engine is in_waves:  # they have a copy, so that the gradient is still that of the pass
            found = torch.autograd.grad(outputs.sin().sum(), list(mixing.values()))
            expected = torch.autograd.grad(pair(space)[0](images(), mixing).sin().sum(), list(mixing.values()))
            assert_same(dict(enumerate(found)), dict(enumerate(expected)))
            continue
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            outputs.sum().backward()


@pytest.mark.parametrize(
    "frozen",
    [lambda i: True, lambda i: i % 2 == 0, lambda i: i % 2 == 1],
    ids=["all", "even", "odd"],
)
def test_frozen_weights(frozen):
    def change(net):
        for number, parameter in enumerate(net.parameters()):
            parameter.requires_grad_(not frozen(number))

    assert_engines_agree(space_of(("nor_conv_1x1", *SOME[1:]), 1), change=change)


@pytest.mark.parametrize("wanted", ["mixing", "one choice", "images", "weights", "one kernel", "one depthwise kernel"])
def test_gradients_of_some(wanted):
    space, found = space_of(num_nodes=1), []
    for net in pair(space):
        net.requires_grad_(wanted == "weights")
        mixing, x = random_mixing(space), images()
        weights = dict(net.named_parameters())
        leaves = {
            "mixing": list(mixing.values()),
            "one choice": [mixing["reduce"]],
            "images": [x],
            "weights": list(weights.values()),
            "one kernel": [weights["cells.1.edges.1.operations.3.6.weight"]],
            "one depthwise kernel": [weights["cells.1.edges.1.operations.3.5.weight"]],
        }[wanted]
        for leaf in leaves:
            leaf.requires_grad_()
        outputs = net(x, mixing)
        found.append(dict(enumerate(torch.autograd.grad(outputs.sin().sum(), leaves))))
    assert_same(found[1], found[0])


# ---------------------------------------------------------------------------------------------------------- precision
def distance(found, truth, part):
    """Of all tensors of a part together, relative."""
    names = [name for name in truth if name.startswith(part) and truth[name].is_floating_point()]
    flat = [torch.cat([values[name].double().flatten() for name in names]) for values in (found, truth)]
    return ((flat[0] - flat[1]).norm() / flat[1].norm()).item()


@pytest.mark.parametrize(("training", "offset"), [(True, 0.0), (True, 1.0), (False, 0.0)])
def test_rounding_in_single_precision(training, offset):
    space = space_of(EVERY[:-1], partial_channels=2)
    mixing = random_mixing(space)
    mixing |= {f"{name}.offset": torch.full((5,), offset, dtype=torch.float64) for name in space.choices}
    truth = passed(pair(space, training, init_channels=8)[0], mixing)
    reference, fast = (
        passed(net.float(), {name: x.float() for name, x in mixing.items()}, images().float())
        for net in pair(space, training, init_channels=8)
    )
    assert fast["outputs"].dtype == torch.float32
    for part in ("outputs", "gradient", "buffer"):
        assert distance(fast, truth, part) <= 20 * distance(reference, truth, part) + 1e-6


@pytest.mark.parametrize(("net_type", "mixing_type"), [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_mixing_weights_of_another_precision(net_type, mixing_type):
    space = space_of(EVERY[:-1], 1)
    mixing = {name: x.to(mixing_type) for name, x in random_mixing(space).items()}
    reference, fast = (passed(net.to(net_type), mixing, images().to(net_type)) for net in pair(space))
    assert {name: x.dtype for name, x in fast.items()} == {name: x.dtype for name, x in reference.items()}
    assert_same(fast, reference, 1e-3 if net_type == torch.float32 else 1e-9)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("parts", [(), (Noise, drop_path)])
def test_autocast(training, parts):
    space = space_of(("nor_conv_3x3", "avg_pool_3x3", *SOME), 1, partial_channels=2, edge_weights=True)
    mixing = mixing_of(space, offsets=True)
    truth = passed(pair(space, training, parts)[0], mixing)
    reference, fast = (
        passed(
            net.float(),
            {name: x.float() for name, x in mixing.items()},
            images().float(),
            context=lambda: torch.autocast("cpu", torch.bfloat16),
        )
        for net in pair(space, training, parts)
    )
    assert fast["outputs"].dtype == torch.bfloat16
    for part in ("outputs", "gradient", "buffer"):
        error = distance(fast, truth, part)
        assert math.isfinite(error)
        assert error <= 2 * distance(reference, truth, part) + 1e-3


def test_half_precision_on_large_values():
    """Sums of squares over many pixels pass the largest number of float16."""
    space = space_of(("skip_connect", "sep_conv_3x3"))
    mixing = {name: x.half() for name, x in random_mixing(space).items()}
    mixing |= {f"{name}.offset": torch.full((5,), 8.0).half() for name in space.choices}
    outputs = []
    for net in pair(space, init_channels=2):
        with torch.no_grad():
            outputs.append(net.half()(images(32, 32).half(), mixing))
    assert outputs[0].isfinite().all()
    assert outputs[1].isfinite().all()


@pytest.mark.parametrize("way", [nullcontext, plain_autograd], ids=["by hand", "plain"])
@pytest.mark.parametrize("parts", [(), (Noise, drop_path, Protocol)], ids=["plain", "hooked"])
def test_networks_in_half_precision(parts, way):
    """As with `trainer.precision=bf16-true`: weights and images alike."""
    space = space_of(("nor_conv_3x3", "avg_pool_3x3", *SOME), 1, partial_channels=2, edge_weights=True)
    mixing = mixing_of(space, offsets=True)
    truth = passed(pair(space, parts=parts)[0], mixing)
    low = {name: x.bfloat16() for name, x in mixing.items()}
    reference, fast = (
        passed(net.bfloat16(), low, images().bfloat16(), context=way) for net in pair(space, parts=parts)
    )
    assert fast["outputs"].dtype == torch.bfloat16
    for part in ("outputs", "gradient", "buffer"):
        assert distance(fast, truth, part) <= 2 * distance(reference, truth, part) + 1e-3
