"""Widening against a reconstruction: the channels of an old supernet carry numbers, which the grown one still tells."""

import pytest
import torch
from torch import nn

from cases import build_space, images, random_mixing, seeded, tiny_supernet
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.space import EdgeInfo
from nas_lightning.spaces import CellSpace
from nas_lightning.spaces.mixed import MixedOperation
from nas_lightning.spaces.nasbench201 import NasBench201Space
from nas_lightning.spaces.operations import FactorizedReduce
from nas_lightning.spaces.widening import grow, plan_widening, widen

NORMS = ("weight", "bias", "running_mean", "running_var")
STEP = 1000  # a convolution's weight is STEP·output + input


SMALL = CellSpace("small", ["none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"], num_nodes=2)


def supernets(before, after, space=SMALL):
    return [tiny_supernet(space.variant(partial_channels=k), k, init_channels=24) for k in (before, after)]


def numbered(module):
    """Give every convolution and normalisation of the mixed operations the numbers of its channels."""
    mixed = [m for m in module.modules() if isinstance(m, MixedOperation)]
    for part in (part for m in mixed for part in m.modules()):
        if isinstance(part, nn.Conv2d):
            code = STEP * torch.arange(part.weight.shape[0])[:, None] + torch.arange(part.weight.shape[1])
            part.weight.data.copy_(code[:, :, None, None].expand(part.weight.shape))
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(torch.arange(part.num_features))
            part.running_var.copy_(STEP + torch.arange(part.num_features))
            part.num_batches_tracked.fill_(7)
    return module


def numbers(conv):
    """The old numbers of a convolution's output and input channels."""
    weight = conv.weight.detach().long()
    assert weight.eq(weight[:, :, :1, :1]).all()  # spatial positions go together
    weight = weight[:, :, 0, 0]
    out, into = weight[:, 0] // STEP, weight[0] % STEP
    assert torch.equal(weight, STEP * out[:, None] + into)  # one choice a side, whatever the other side
    return out, into


def norm_numbers(norm):
    found = norm.running_mean.long()
    assert torch.equal(norm.running_var.long(), STEP + found)
    assert norm.num_batches_tracked == 7
    return found


def extra(found, old, new):
    """What was added: the old channels come first, the others are copies of them."""
    assert len(found) == new
    assert torch.equal(found[:old], torch.arange(old))
    assert found.lt(old).all()
    return tuple(found[old:].tolist())


def read_operation(operation, old, new):
    """Check a grown operation by itself; returns its independent choices."""
    if isinstance(operation, FactorizedReduce):
        halves = [numbers(operation.conv_1), numbers(operation.conv_2)]
        joined = torch.cat([halves[0][0], old // 2 + halves[1][0]])
        assert torch.equal(norm_numbers(operation.norm), joined)
        outs = [extra(out, old // 2, new // 2) for out, _ in halves]
        return outs + [extra(into, old, new) for _, into in halves]
    choices, last = [], None
    for part in operation.children():
        if isinstance(part, nn.Conv2d) and part.groups > 1:
            assert part.groups == part.in_channels == part.out_channels == new
            last = numbers(part)[0]
            choices.append(extra(last, old, new))
        elif isinstance(part, nn.Conv2d):
            out, into = numbers(part)
            if last is None:
                choices.append(extra(into, old, new))
            else:
                assert torch.equal(into, last)  # reads what the part before it made
            choices.append(extra(out, old, new))
            last = out
        elif isinstance(part, nn.BatchNorm2d):
            found = norm_numbers(part)
            if last is None:
                choices.append(extra(found, old, new))
            else:
                assert torch.equal(found, last)
            last = found
    return choices


@pytest.mark.parametrize(("before", "after"), [(6, 4), (4, 2), (4, 1)])
def test_every_channel_is_a_copy_in_all_that_belongs_to_it(before, after):
    space = build_space("darts_nonone")
    old, new = supernets(before, after, space)
    plan = plan_widening(numbered(old), new, seeded(0))
    grown = widen(old.state_dict(), plan)
    assert {k: v.shape for k, v in grown.items()} == {k: v.shape for k, v in new.state_dict().items()}
    new.load_state_dict(grown)
    choices = []
    for narrow, wide in zip(old.cells, new.cells, strict=True):
        for edge, wider in zip(narrow.edges, wide.edges, strict=True):
            assert wider.edge.channels == edge.edge.channels * before // after
            for operation in wider.operations:
                choices += read_operation(operation, edge.edge.channels, wider.edge.channels)
    # Of an operation's own choices a pool has one, a separable convolution four, a dilated one two, a reduction four.
    assert len(choices) == 4 * 14 * (2 + 2 * 4 + 2 * 2) + 2 * 8 * 4
    assert len(set(choices)) > len(choices) // 4
    outside = [name for name in grown if ".operations." not in name]
    assert outside
    assert not set(outside) & set(plan)
    assert all(torch.equal(grown[name], old.state_dict()[name]) for name in outside)
    assert new(images(), random_mixing(space)).isfinite().all()


def test_momentum_grows_by_the_same_choices():
    old, new = supernets(4, 2)
    plan = plan_widening(old, new, seeded(0))
    optimizer = torch.optim.SGD(old.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        old(images(2), random_mixing(SMALL)).square().sum().backward()
        optimizer.step()
    moments = {name: optimizer.state[p]["momentum_buffer"] for name, p in old.named_parameters()}
    # the numbers of the entries of every tensor grow along, so that they tell where each grown entry came from
    places = {name: torch.arange(p.numel()).view_as(p) for name, p in old.named_parameters()}
    origin, grown, weights = widen(places, plan), widen(moments, plan), widen(dict(old.named_parameters()), plan)
    for name, p in new.named_parameters():
        assert grown[name].shape == weights[name].shape == p.shape
        assert not weights[name].requires_grad
        assert torch.equal(grown[name].flatten(), moments[name].flatten()[origin[name].flatten()])
        assert torch.equal(weights[name].flatten(), old.get_parameter(name).detach().flatten()[origin[name].flatten()])
    assert any(grown[name].shape != moments[name].shape for name in grown)


def test_plans_are_functions_of_the_generator():
    old, new = supernets(6, 4)

    def plan(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 100)  # of no effect
            return plan_widening(old, new, seeded(seed))

    first, again, other = plan(0), plan(0), plan(1)
    assert first.keys() == again.keys() == other.keys()

    def flat(chosen):
        return [[None if index is None else index.tolist() for index in indices] for indices in chosen.values()]

    assert flat(first) == flat(again) != flat(other)


def test_copies_are_drawn_uniformly():
    old, new = supernets(6, 4)
    counts = torch.zeros(4)
    for seed in range(5):
        plan = plan_widening(old, new, seeded(seed))
        for name, indices in plan.items():
            if name.startswith("cells.0.") and name.endswith("weight"):
                counts += torch.bincount(indices[0][4:], minlength=4)
    assert counts.sum() == 300
    assert (counts / counts.sum() - 0.25).abs().max() < 0.1


def test_nothing_grows_between_equal_widths():
    old, new = supernets(2, 2)
    assert plan_widening(old, new, seeded(0)) == {}
    grown = widen(old.state_dict(), {})
    assert all(torch.equal(grown[name], tensor) for name, tensor in old.state_dict().items())
    assert all(grown[name].data_ptr() != tensor.data_ptr() for name, tensor in old.state_dict().items())


def test_a_module_that_holds_a_supernet():
    old, new = (nn.ModuleDict({"supernet": supernet}) for supernet in supernets(4, 2))
    plan = plan_widening(old, new, seeded(0))
    assert all(name.startswith("supernet.cells.") for name in plan)
    new.load_state_dict(widen(old.state_dict(), plan))


@pytest.mark.parametrize(("before", "after"), [(4, 2), (4, 1)])
def test_nasbench201(before, after):
    space = NasBench201Space()
    old, new = (
        space.variant(partial_channels=k).supernet(3, init_channels=8, layers=1).double() for k in (before, after)
    )
    new.load_state_dict(widen(old.state_dict(), plan_widening(numbered(old), new, seeded(0))))
    choices = []
    for narrow, wide in zip(old.cells, new.cells, strict=True):
        for edge, wider in zip(narrow.edges, wide.edges, strict=True):
            for operation in wider.operations:
                choices += read_operation(operation, edge.edge.channels, wider.edge.channels)
    assert len(choices) == 3 * 6 * 2 * 2
    assert new(images(), random_mixing(space)).isfinite().all()


# ------------------------------------------------------------------------------------- what operations may be made of
def mixed(width, *parts):
    edge = EdgeInfo("normal", 0, 0, 0, 2, 1, width)
    operation = nn.Sequential(*(part(width) for part in parts))
    return MixedOperation(("mine",), edge, build=lambda *_, **__: operation)


def test_bias_affine_values_and_nested_sequences():
    def block(width):
        return nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))

    old, new = mixed(2, block, nn.BatchNorm2d, block), mixed(5, block, nn.BatchNorm2d, block)
    plan = plan_widening(old, new, seeded(3))
    index = {name.removeprefix("operations.0."): indices for name, indices in plan.items()}
    first = index["0.1.weight"][0]
    assert index["0.1.bias"] == (first,)
    for norm in ("0.2", "1"):
        assert all(index[f"{norm}.{name}"][0] is first for name in NORMS)
    assert index["2.1.weight"][1] is first
    new.load_state_dict(widen(old.state_dict(), plan))


def test_one_channel_grows_into_a_depthwise_convolution():
    def depthwise(width):
        return nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)

    old, new = mixed(1, depthwise), mixed(3, depthwise)
    new.load_state_dict(widen(old.state_dict(), plan_widening(old, new, seeded(0))))
    assert new.operations[0][0].weight.eq(old.operations[0][0].weight).all()


@pytest.mark.parametrize(
    "part",
    [
        lambda width: nn.Conv2d(width, width, 1, groups=2),
        lambda width: nn.ConvTranspose2d(width, width, 1),
        lambda width: nn.ModuleList([nn.Conv2d(width, width, 1)]),
        lambda width: nn.GroupNorm(2, width),
    ],
    ids=["groups", "transposed", "list", "group norm"],
)
def test_unknown_modules(part):
    message = r"^search\.stages: operations\.0\.1 \(\w+\) cannot be widened.*divisor the same in all stages"
    with pytest.raises(ConfigError, match=message) as caught:
        plan_widening(mixed(4, nn.BatchNorm2d, part), mixed(8, nn.BatchNorm2d, part), seeded(0))
    assert "\n" not in str(caught.value)


def test_unknown_modules_of_equal_shape_are_copied():
    def scale(width):
        return nn.PReLU()

    def convolution(width):
        return nn.Conv2d(width, width, 1, bias=False)

    old, new = mixed(2, convolution, scale, convolution), mixed(4, convolution, scale, convolution)
    plan = plan_widening(old, new, seeded(0))
    assert set(plan) == {"operations.0.0.weight", "operations.0.2.weight"}
    assert plan["operations.0.2.weight"][1] is plan["operations.0.0.weight"][0]


def test_other_differences_are_refused():
    old, new = supernets(2, 4)
    with pytest.raises(ConfigError, match=r"has 12 channels in a stage and 6 in the next; .*may only become smaller"):
        plan_widening(old, new, seeded(0))
    space = build_space("s2")
    old, new = (tiny_supernet(space, num_classes=classes) for classes in (3, 4))
    with pytest.raises(ConfigError, match=r"classifier\.weight has shape \[3, 64\] in a stage and \[4, 64\] in the ne"):
        plan_widening(old, new, seeded(0))
    old, new = tiny_supernet(space), tiny_supernet(space, layers=3)
    with pytest.raises(ConfigError, match=r"a stage has cells\.3\..*, another has not; .*may change"):
        plan_widening(old, new, seeded(0))


def test_grow_leaves_dimensions_without_a_choice():
    tensor = torch.arange(24).view(2, 3, 4)
    index = torch.tensor([0, 1, 1, 0])
    assert torch.equal(grow(tensor, (index,)), tensor[index])
    assert torch.equal(grow(tensor, (None, None, index)), tensor[:, :, index])
    assert grow(tensor, ()) is tensor
