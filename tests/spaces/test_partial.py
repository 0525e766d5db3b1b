"""Partial channels: the shuffle, the bypass and the mixed edge against plain loops; which divisors are refused."""

import math

import pytest
import torch

from cases import TINY, build_space, images, random_mixing, seeded, tiny_supernet
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import count_parameters
from nas_lightning.core.space import EdgeInfo
from nas_lightning.regularizers import Regularizer
from nas_lightning.spaces.mixed import MixedOperation
from nas_lightning.spaces.partial import bypass, channel_shuffle, check_divisor, join


@pytest.mark.parametrize(("channels", "groups"), [(8, 2), (8, 4), (12, 3), (12, 6), (6, 1), (6, 6)])
def test_shuffle_is_the_permutation_of_a_loop(channels, groups):
    x = images(2, 3, channels)
    each = channels // groups
    order = [group * each + member for member in range(each) for group in range(groups)]
    assert sorted(order) == list(range(channels))
    assert torch.equal(channel_shuffle(x, groups), x[:, order])


def pooled(x):
    """2×2 max pool of stride 2, pixel by pixel."""
    batch, channels, height, width = x.shape
    y = torch.full((batch, channels, height // 2, width // 2), -math.inf, dtype=x.dtype)
    for row in range(height):
        for column in range(width):
            y[:, :, row // 2, column // 2] = torch.maximum(y[:, :, row // 2, column // 2], x[:, :, row, column])
    return y


@pytest.mark.parametrize("divisor", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_bypass_channel_by_channel(stride, divisor):
    width = 2
    channels = width * divisor
    x = images(2, 4, channels)
    mixed = images(2, 4 // stride, width, seed=1)
    beside = x if stride == 1 else pooled(x)
    y = join(mixed, bypass(x, mixed.shape[1], stride), divisor)
    assert y.shape == (2, channels, 4 // stride, 4 // stride)
    for place in range(channels):
        member, group = divmod(place, divisor)  # K groups of `width` channels, the first of them the mixed ones
        expected = mixed[:, member] if group == 0 else beside[:, group * width + member]
        assert torch.equal(y[:, place], expected)


def mixed_edge(stride, divisor, channels=8, names=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")):
    edge = EdgeInfo("normal", 0, 0, 0, 2, stride, channels // divisor)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MixedOperation(names, edge, divisor).double()


class Recorder(Regularizer):
    def __init__(self):
        self.ops, self.edges = [], []

    def on_op(self, y, op, edge):
        self.ops.append((op, tuple(y.shape), edge.channels))
        return y

    def on_edge(self, y, x, edge):
        self.edges.append(y)
        return y


@pytest.mark.parametrize("divisor", [2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_operations_see_the_first_channels_and_the_edge_is_whole(stride, divisor):
    mixed, recorder = mixed_edge(stride, divisor), Recorder()
    x, weights = images(channels=8), torch.rand(4, generator=seeded(1), dtype=torch.float64)
    y = mixed(x, weights, [True] * 4, (recorder,))
    width, size = 8 // divisor, 8 // stride
    assert [shape for _, shape, _ in recorder.ops] == [(4, width, size, size)] * 4
    assert {channels for _, _, channels in recorder.ops} == {width}
    assert torch.equal(recorder.edges[0], y)
    part = sum(weight * operation(x[:, :width]) for weight, operation in zip(weights, mixed.operations, strict=True))
    expected = join(part, bypass(x, part.shape[1], stride), divisor)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    assert y.shape == (4, 8, size, size)


def test_divisor_one_is_the_edge_without_partial_channels():
    x, weights = images(channels=8), torch.rand(4, generator=seeded(1), dtype=torch.float64)
    whole = mixed_edge(2, 1)
    plain = sum(weight * operation(x) for weight, operation in zip(weights, whole.operations, strict=True))
    torch.testing.assert_close(whole(x, weights, [True] * 4, ()), plain, rtol=0, atol=1e-12)
    assert whole.state_dict().keys() == mixed_edge(2, 4).state_dict().keys()  # names do not depend on K


def test_an_edge_without_active_options_is_gone_with_its_bypass():
    mixed = mixed_edge(1, 4)
    offset = torch.zeros((), dtype=torch.float64)
    assert mixed(images(channels=8), torch.ones(4).double(), [False] * 4, (), offset) is None


@pytest.mark.parametrize("divisor", [1, 4])
def test_an_offset_reaches_the_mixed_channels_alone(divisor):
    mixed, recorder = mixed_edge(1, divisor), Recorder()
    x, weights = images(channels=8), torch.rand(4, generator=seeded(1), dtype=torch.float64)
    offset = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    plain = mixed(x, weights, [True] * 4, ())
    y = mixed(x, weights, [True] * 4, (recorder,), offset)
    expected = torch.zeros(8, dtype=torch.float64)
    expected[::divisor] = 0.5  # K groups shuffled: every K-th channel is a mixed one
    torch.testing.assert_close(y - plain, expected[:, None, None].expand_as(y))
    assert torch.equal(recorder.edges[0], y)
    (slope,) = torch.autograd.grad(y.sum(), offset)
    assert slope.item() == 4 * (8 // divisor) * 64  # images, mixed channels, pixels


# ---------------------------------------------------------------------------------------------- the whole supernet
def test_parameters_of_pc_darts():
    space = build_space("darts").variant(partial_channels=4)
    with torch.device("meta"):
        assert count_parameters(space.supernet(10, init_channels=16, layers=8)) == 299_578  # the released code's own


@pytest.mark.parametrize("divisor", [1, 2, 4])
def test_widths_within_the_supernet(divisor):
    space = build_space("s3").variant(partial_channels=divisor)
    supernet, recorder = tiny_supernet(space), Recorder()
    supernet.attach((recorder,))
    logits = supernet(images(), random_mixing(space))
    assert logits.shape == (4, 3)
    assert logits.isfinite().all()
    per_cell = [(4, 8), (8, 4), (16, 2), (16, 2)]
    assert [y.shape[1:] for y in recorder.edges] == [(c, s, s) for c, s in per_cell for _ in range(14)]
    assert [shape[1] for _, shape, _ in recorder.ops] == [c // divisor for c, _ in per_cell for _ in range(42)]
    logits.square().sum().backward()
    assert all(p.grad is not None for p in supernet.cells[-1].parameters())


def test_divisor_one_changes_no_number():
    space = build_space("darts")
    plain, same = tiny_supernet(space), tiny_supernet(space.variant(partial_channels=1))
    assert plain.state_dict().keys() == same.state_dict().keys()
    mixing = random_mixing(space)
    assert torch.equal(plain(images(), mixing), same(images(), mixing))


def test_offsets_by_choice_change_the_logits_of_their_own_edges_only():
    space = build_space("s2").variant(partial_channels=2)
    supernet = tiny_supernet(space).eval()
    mixing = random_mixing(space)
    zeros = {f"{name}.offset": torch.zeros(14, dtype=torch.float64, requires_grad=True) for name in mixing}
    plain = supernet(images(), mixing)
    y = supernet(images(), mixing | zeros)
    assert torch.equal(y, plain)
    slopes = torch.autograd.grad(y.square().sum(), list(zeros.values()))
    for name, slope in zip(mixing, slopes, strict=True):
        for row in (0, 7, 13):
            ends = []
            for step in (1e-5, -1e-5):
                moved = torch.zeros(14, dtype=torch.float64)
                moved[row] = step
                with torch.no_grad():
                    ends.append(supernet(images(), mixing | {f"{name}.offset": moved}).square().sum().item())
            assert slope[row].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-8)


# -------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("channels", "divisor", "fitting"),
    [(16, 3, 18), (16, 6, 18), (36, 8, 32), (2, 4, 4), (20, 7, 14), (6, 12, 12)],
)
def test_divisors_that_leave_a_fraction(channels, divisor, fitting):
    allowed = ", ".join(str(k) for k in range(1, channels + 1) if channels % k == 0)
    message = (
        rf"^regularizer\.partial_channels\.divisor={divisor}: must divide search\.init_channels={channels}; allowed"
        rf" there: {allowed}, or use search\.init_channels={fitting}$"
    )
    with pytest.raises(ConfigError, match=message):
        build_space("s2").variant(partial_channels=divisor).supernet(**{**TINY, "init_channels": channels})
    check_divisor(fitting, divisor)
    assert fitting % 2 == 0


@pytest.mark.parametrize(("channels", "divisor", "layers"), [(6, 6, 4), (4, 4, 1), (2, 2, 2), (6, 3, 3), (12, 4, 5)])
def test_strided_skip_connections_always_have_an_even_width(channels, divisor, layers):
    space = build_space("s2").variant(partial_channels=divisor)
    supernet = tiny_supernet(space, init_channels=channels, layers=layers)
    for cell in supernet.cells:
        for edge in cell.edges:
            assert edge.edge.stride == 1 or edge.edge.channels % 2 == 0
    assert supernet(images(), random_mixing(space)).isfinite().all()
