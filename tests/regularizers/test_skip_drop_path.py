"""Drop-path on the skip connections alone."""

import math

import pytest
import torch

from cases import build_space, images, random_mixing, tiny_supernet
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import frozen_batch_stats
from nas_lightning.core.space import EdgeInfo
from nas_lightning.regularizers import Noise, SkipDropPath

EDGE = EdgeInfo("normal", cell=0, row=1, source=1, node=2, stride=1, channels=4)


def test_only_skip_connections_are_dropped_image_by_image():
    part, y = SkipDropPath(0.3), images(2000, 2, 1)
    kept = y.clone()
    with draws.keyed(0, 0, "weights"):
        assert part.on_op(y, "sep_conv_3x3", EDGE) is y
        scale = part.on_op(y, "skip_connect", EDGE) / y
        assert torch.equal(part.on_op(y, "skip_connect", EDGE) / y, scale)
    assert torch.equal(y, kept)
    images_kept = scale.flatten(1).ne(0).all(dim=1)
    assert torch.equal(images_kept, scale.flatten(1).ne(0).any(dim=1))
    torch.testing.assert_close(scale[images_kept], torch.full_like(scale[images_kept], 1 / 0.7))
    assert abs(float(images_kept.double().mean()) - 0.7) < 4 * math.sqrt(0.7 * 0.3 / len(y))


def test_the_other_operations_of_an_edge_stay():
    """With the mixing weight p of skip, an edge loses exactly p·x where it is dropped."""
    space, part = build_space("s2"), SkipDropPath(0.5)
    edge, weights = tiny_supernet(space).cells[0].edges[1], torch.tensor([0.3, 0.7], dtype=torch.float64)
    x = images(32, channels=4)
    whole = edge(x, weights, [True, True], ())
    with draws.keyed(0, 0, "weights"):
        dropped = edge(x, weights, [True, True], (part,))
    scale = (dropped - whole) / (0.3 * x)
    expected = torch.where(scale[:, :1, :1, :1] < 0, -1.0, 1.0).double().expand_as(scale)
    torch.testing.assert_close(scale, expected, rtol=1e-6, atol=1e-6)
    assert -1 < float(expected.mean()) < 1


@pytest.mark.parametrize("in_validation", [False, True])
def test_evaluation_mode(in_validation):
    space = build_space("s2")
    mixing, x = random_mixing(space), images()
    plain, supernet = tiny_supernet(space), tiny_supernet(space)
    supernet.attach((SkipDropPath(0.5, in_validation),))
    with frozen_batch_stats(plain), frozen_batch_stats(supernet), draws.keyed(0, 0, "weights"):
        assert not torch.equal(supernet(x, mixing), plain(x, mixing))
    with draws.keyed(0, 0, "val"):
        assert torch.equal(supernet.eval()(x, mixing), plain.eval()(x, mixing)) == (not in_validation)


def test_listed_after_the_noise_it_drops_noisy_outputs():
    space = build_space("s2")
    supernet = tiny_supernet(space)
    edge, weights = supernet.cells[0].edges[1], torch.tensor([1.0, 0.0], dtype=torch.float64)
    x, noise, drop = images(64, channels=4), Noise(std=0.5), SkipDropPath(0.4)
    with draws.keyed(0, 0, "weights"):
        noisy = edge(x, weights, [True, False], (noise,))
        after = edge(x, weights, [True, False], (noise, drop))
        before = edge(x, weights, [True, False], (drop, noise))
    zero = after.flatten(1).eq(0).all(dim=1)
    assert 10 < int(zero.sum()) < 45
    torch.testing.assert_close(after[~zero], noisy[~zero] / 0.6)
    assert not before.flatten(1).eq(0).all(dim=1).any()


def test_its_masks_are_not_those_of_another_edge():
    part, y = SkipDropPath(0.5), torch.ones(256, 1, 1, 1, dtype=torch.float64)

    def mask(cell, row, pass_name):
        with draws.keyed(0, 0, pass_name):
            return part.on_op(y, "skip_connect", EdgeInfo("normal", cell, row, 0, 2, 1, 1)).flatten()

    masks = [mask(0, 0, "weights"), mask(1, 0, "weights"), mask(0, 1, "weights"), mask(0, 0, "outer")]
    correlations = torch.corrcoef(torch.stack(masks)) - torch.eye(len(masks))
    assert correlations.abs().max() < 4 / math.sqrt(len(y))


def test_refused_where_there_is_no_skip_connection():
    with pytest.raises(
        ConfigError, match=r"regularizer\.skip_drop_path: .*space=s4.*\+regularizer=drop_path"
    ) as caught:
        SkipDropPath().build(build_space("s4"))
    assert "\n" not in str(caught.value)
    space = build_space("s1")
    assert SkipDropPath().build(space) is space
