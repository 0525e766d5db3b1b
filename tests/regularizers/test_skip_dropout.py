"""Dropout after the identity: the released schedule, which elements it drops, and what it leaves alone."""

import math

import pytest
import torch

from cases import build_space, images, random_mixing, tiny_supernet
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.space import EdgeInfo
from nas_lightning.regularizers import SkipDropout

EDGE = EdgeInfo("normal", cell=0, row=1, source=1, node=2, stride=1, channels=4)


def at(epoch, probability=0.4, epochs=25, warmup=10):
    part = SkipDropout(probability, epochs=epochs, warmup_epochs=warmup)
    part.at_epoch(epoch)
    return part


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.384), (9, 0.24), (10, 0.4), (15, 0.4 * math.exp(-1)), (24, 0.4 * math.exp(-2.8))]
)
def test_published_schedule(epoch, expected):
    part = at(epoch)
    assert part.current == pytest.approx(expected, rel=1e-12)
    assert part.metrics() == {"skip_dropout": part.current}


def test_golden_values():
    assert [round(at(epoch).current, 4) for epoch in (0, 9, 10, 15, 24)] == [0.384, 0.24, 0.4, 0.1472, 0.0243]
    assert [at(epoch, 0.7, 3, 1).current for epoch in range(3)] == pytest.approx([1.4 / 3, 0.7, 0.7 * math.exp(-0.2)])


def test_single_elements_are_dropped_and_the_mean_stays():
    part, y = at(10), images(200, 4, 8)
    kept = y.clone()
    with draws.keyed(0, 0, "weights"):
        assert part.on_op(y, "sep_conv_3x3", EDGE) is y
        scale = part.on_op(y, "skip_connect", EDGE) / y
        assert torch.equal(part.on_op(y, "skip_connect", EDGE) / y, scale)
    with draws.keyed(0, 1, "weights"):
        assert not torch.equal(part.on_op(y, "skip_connect", EDGE) / y, scale)
    assert torch.equal(y, kept)
    there = scale != 0
    torch.testing.assert_close(scale[there], torch.full_like(scale[there], 1 / 0.6))
    deviation = math.sqrt(0.4 * 0.6 / there.numel())
    assert abs(float(there.double().mean()) - 0.6) < 4 * deviation
    # Neighbours, in space and in channels, are independent: unlike drop-path, it drops no whole images.
    for a, b in ((there[..., 1:], there[..., :-1]), (there[:, 1:], there[:, :-1])):
        both = (a & b).double().mean()
        assert abs(float(both) - 0.36) < 5 * math.sqrt(0.36 * 0.64 / a.numel())


def test_strided_skip_connections_and_evaluation_are_left_alone():
    part, y = at(10), images()
    strided = EdgeInfo("reduce", 0, 1, 1, 2, 2, 4)
    with draws.keyed(0, 0, "weights"):
        assert part.on_op(y, "skip_connect", strided) is y
    assert part.eval().on_op(y, "skip_connect", EDGE) is y
    assert not part.acts_on("skip_connect")


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_engines_drop_the_same(engine):
    space = build_space("s2")
    mixing, x = random_mixing(space), images()
    expected, supernet = tiny_supernet(space), tiny_supernet(space, engine=engine)
    for one in (expected, supernet):
        one.attach((at(10),))
    with draws.keyed(0, 0, "weights"):
        first = expected(x, mixing)
    with draws.keyed(0, 0, "weights"):
        torch.testing.assert_close(supernet(x, mixing), first)


def test_probability_zero_is_no_dropout_to_the_bit():
    space = build_space("s2")
    mixing, x = random_mixing(space), images()
    plain, supernet = tiny_supernet(space), tiny_supernet(space)
    supernet.attach((at(10, probability=0.0),))
    assert not supernet.regularizers[0].acts_on("skip_connect")
    assert torch.equal(supernet(x, mixing), plain(x, mixing))


def test_refusals():
    with pytest.raises(ConfigError, match=r"regularizer\.skip_dropout: .*space=s4.*selector=magnitude") as caught:
        SkipDropout().build(build_space("s4"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"regularizer\.skip_dropout\.epochs=null"):
        SkipDropout(0.1).at_epoch(0)
