"""Where cells reduce, their sizes, stems and the image sizes they can take."""

import pytest
import torch

from cases import images
from nas_lightning.core.errors import ConfigError
from nas_lightning.spaces.macro import build_stem, check_image_size, plan_cells, reduction_cells


@pytest.mark.parametrize(
    ("layers", "cells"),
    [(8, {2, 5}), (20, {6, 13}), (14, {4, 9}), (1, {0}), (2, {0, 1}), (3, {1, 2}), (4, {1, 2})],
)
def test_reduction_cells(layers, cells):
    assert reduction_cells(layers) == cells


def plans(layers, channels, multiplier, stem="cifar"):
    cells = plan_cells(layers, channels, multiplier, stem)
    return [(p.index, p.kind, p.channels, p.channels_in, p.previous_reduced) for p in cells]


def test_plan_of_the_search_network():
    # C=16, L=8: written out by hand from section 1.3 of the specification.
    assert plans(8, 16, {"normal": 4, "reduce": 4}) == [
        (0, "normal", 16, (48, 48), False),
        (1, "normal", 16, (48, 64), False),
        (2, "reduce", 32, (64, 64), False),
        (3, "normal", 32, (64, 128), True),
        (4, "normal", 32, (128, 128), False),
        (5, "reduce", 64, (128, 128), False),
        (6, "normal", 64, (128, 256), True),
        (7, "normal", 64, (256, 256), False),
    ]


def test_plan_of_the_imagenet_stem_and_of_unequal_multipliers():
    assert plans(3, 8, {"normal": 3, "reduce": 2}, "imagenet") == [
        (0, "normal", 8, (8, 8), True),
        (1, "reduce", 16, (8, 24), False),
        (2, "reduce", 32, (24, 32), True),
    ]


@pytest.mark.parametrize(
    ("layers", "stem", "good", "bad", "nearest"),
    [
        (8, "cifar", (4, 8, 32), (0, 3, 30, 33), (4, 4, 32, 32)),
        (1, "cifar", (2, 4, 30), (1, 29), (2, 28)),
        (14, "imagenet", (32, 224), (16, 100, 230), (32, 96, 224)),
        (1, "imagenet", (16, 48), (8, 40), (16, 32)),
    ],
)
def test_image_sizes(layers, stem, good, bad, nearest):
    for size in good:
        check_image_size(size, layers, stem)
    for size, mend in zip(bad, nearest, strict=True):
        with pytest.raises(ConfigError, match=rf"data\.image_size={size}: .* use data\.image_size={mend} "):
            check_image_size(size, layers, stem)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_cifar_stem(in_channels):
    stem = build_stem("cifar", in_channels, 4).double()
    before, last = stem(images(channels=in_channels))
    assert before is last
    assert before.shape == (4, 12, 8, 8)
    y = torch.nn.functional.conv2d(images(channels=in_channels), stem.conv.weight, padding=1)
    expected = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(before, expected, rtol=0, atol=1e-10)  # no ReLU
    assert stem.norm.affine


@pytest.mark.parametrize(("in_channels", "size"), [(1, 64), (3, 96)])
def test_imagenet_stem(in_channels, size):
    stem = build_stem("imagenet", in_channels, 6)
    before, last = stem(torch.randn(2, in_channels, size, size))
    assert before.shape == (2, 6, size // 4, size // 4)
    assert last.shape == (2, 6, size // 8, size // 8)
    # 3→C/2, C/2→C, C→C convolutions and three affine normalisations
    assert sum(p.numel() for p in stem.parameters()) == 9 * (3 * in_channels + 18 + 36) + 2 * (3 + 6 + 6)
    assert before.min() < 0  # no ReLU at the end of either
    assert last.min() < 0


@pytest.mark.parametrize(("channels", "use"), [(5, 6), (1, 2), (0, 2), (-4, 2)])
def test_odd_channel_counts(channels, use):
    with pytest.raises(ConfigError, match=rf"init_channels={channels}: must be even and positive.*use {use}$"):
        build_stem("cifar", 3, channels)


def test_unknown_stem():
    with pytest.raises(ConfigError, match=r"stem=resnet: unknown; allowed: cifar, imagenet"):
        build_stem("resnet", 3, 4)
