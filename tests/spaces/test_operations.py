"""Every operation against loops over output pixels, and the draws of the stochastic ones."""

import math

import pytest
import torch
from torch import nn

from cases import images
from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.spaces.operations import (
    OPERATIONS,
    FactorizedReduce,
    Identity,
    build_operation,
    drop_path,
    relu_conv_norm,
)

C = 4


def windows(x, size, stride, dilation, padding):
    """For each output pixel (i, j), the input pixels under the kernel as {(di, dj): [B, C]}, outside ones left out."""
    height, width = x.shape[2:]
    span = dilation * (size - 1) + 1
    for i in range((height + 2 * padding - span) // stride + 1):
        for j in range((width + 2 * padding - span) // stride + 1):
            found = {}
            for di in range(size):
                for dj in range(size):
                    row, column = i * stride - padding + di * dilation, j * stride - padding + dj * dilation
                    if 0 <= row < height and 0 <= column < width:
                        found[di, dj] = x[:, :, row, column]
            yield i, j, found


def assemble(pixels):
    rows = max(i for i, _ in pixels) + 1
    columns = max(j for _, j in pixels) + 1
    return torch.stack([torch.stack([pixels[i, j] for j in range(columns)], -1) for i in range(rows)], -2)


def depthwise(x, weight, stride=1, dilation=1):
    size = weight.shape[-1]
    pixels = {}
    for i, j, found in windows(x, size, stride, dilation, dilation * (size // 2)):
        pixels[i, j] = sum(value * weight[:, 0, di, dj] for (di, dj), value in found.items())
    return assemble(pixels)


def pointwise(x, weight):
    return torch.stack([sum(w * x[:, c] for c, w in enumerate(row.flatten())) for row in weight], dim=1)


def full(x, weight, stride):
    size = weight.shape[-1]
    pixels = {}
    for i, j, found in windows(x, size, stride, 1, size // 2):
        pixels[i, j] = sum(value @ weight[:, :, di, dj].T for (di, dj), value in found.items())
    return assemble(pixels)


def normalise(x, norm, training):
    channels = []
    for c in range(x.shape[1]):
        plane = x[:, c]
        mean = plane.sum() / plane.numel() if training else norm.running_mean[c]
        var = ((plane - mean) ** 2).sum() / plane.numel() if training else norm.running_var[c]
        plane = (plane - mean) / math.sqrt(var + 1e-5)
        channels.append(plane if norm.weight is None else plane * norm.weight[c] + norm.bias[c])
    return torch.stack(channels, dim=1)


def relu(x):
    return torch.where(x > 0, x, torch.zeros_like(x))


def parts(module, kind):
    return [part for part in module.modules() if isinstance(part, kind)]


def reference(name, module, x, stride, search):
    convs, norms = parts(module, nn.Conv2d), parts(module, nn.BatchNorm2d)
    training = module.training
    if name == "none":
        return torch.zeros(x[:, :, ::stride, ::stride].shape, dtype=x.dtype)
    if name.endswith("pool_3x3"):
        pixels = {}
        for i, j, found in windows(x, 3, stride, 1, 1):
            values = torch.stack(list(found.values()))
            pixels[i, j] = values.max(0).values if name.startswith("max") else values.sum(0) / len(found)
        y = assemble(pixels)
        return normalise(y, norms[0], training) if search else y
    if name == "skip_connect":
        if stride == 1:
            return x
        y = relu(x)
        halves = [pointwise(y[:, :, 0::2, 0::2], convs[0].weight), pointwise(y[:, :, 1::2, 1::2], convs[1].weight)]
        return normalise(torch.cat(halves, 1), norms[0], training)
    if name.startswith("nor_conv"):
        assert len(convs) == len(norms) == 1
        assert convs[0].weight.shape[2:] == (int(name[-1]), int(name[-1]))
        return normalise(full(relu(x), convs[0].weight, stride), norms[0], training)
    dilation = 2 if name.startswith("dil") else 1
    repeats = 1 if name.startswith("dil") else 2
    assert len(convs) == 2 * repeats
    assert len(norms) == repeats
    for unit in range(repeats):
        x = depthwise(relu(x), convs[2 * unit].weight, stride if unit == 0 else 1, dilation)
        x = normalise(pointwise(x, convs[2 * unit + 1].weight), norms[unit], training)
    return x


def built(name, stride, search):
    torch.manual_seed(0)
    module = build_operation(name, C, stride, search).double()
    for norm in parts(module, nn.BatchNorm2d):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        if norm.affine:
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return module


@pytest.mark.parametrize("search", [True, False], ids=["search", "discrete"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - {"noise"}))
def test_against_loops(name, stride, search):
    module, x = built(name, stride, search), images(batch=2, size=6, channels=C)
    kept = x.clone()
    with torch.no_grad():
        for training in (False, True):  # eval first: train mode moves the statistics that eval mode reads
            module.train(training)
            expected = reference(name, module, x, stride, search)
            y = module(x)
            assert y.shape == (2, C, 6 // stride, 6 // stride)
            torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    assert torch.equal(x, kept)  # no in-place ReLU


# Weights at C=4, search (no affine) / discrete (affine: 2·C a normalisation but those of the pools, which go).
SIZES = {
    ("none", 1): (0, 0),
    ("nor_conv_1x1", 1): (16, 16 + 8),
    ("nor_conv_3x3", 2): (144, 144 + 8),
    ("max_pool_3x3", 2): (0, 0),
    ("avg_pool_3x3", 1): (0, 0),
    ("skip_connect", 1): (0, 0),
    ("skip_connect", 2): (16, 16 + 8),
    ("sep_conv_3x3", 1): (2 * (36 + 16), 2 * (36 + 16) + 16),
    ("sep_conv_5x5", 2): (2 * (100 + 16), 2 * (100 + 16) + 16),
    ("dil_conv_3x3", 2): (36 + 16, 36 + 16 + 8),
    ("dil_conv_5x5", 1): (100 + 16, 100 + 16 + 8),
    ("noise", 2): (0, 0),
}


@pytest.mark.parametrize(("name", "stride"), SIZES)
def test_sizes(name, stride):
    for search, size in zip((True, False), SIZES[name, stride], strict=True):
        module = build_operation(name, C, stride, search)
        assert sum(p.numel() for p in module.parameters()) == size


def test_identity_is_of_its_own_class_and_hands_the_input_through():
    x = images(channels=C)
    skip = build_operation("skip_connect", C, 1, search=True)
    assert isinstance(skip, Identity)
    assert skip(x) is x
    assert not isinstance(build_operation("skip_connect", C, 2, search=True), Identity)


def test_factorized_reduce_sees_every_second_diagonal_pixel_and_changes_channels():
    torch.manual_seed(0)
    module = FactorizedReduce(3, 5, affine=False).double()
    x = images(batch=2, size=4)
    with torch.no_grad():
        y = module(x)
        first = pointwise(relu(x)[:, :, 0::2, 0::2], module.conv_1.weight)
        second = pointwise(relu(x)[:, :, 1::2, 1::2], module.conv_2.weight)
        expected = normalise(torch.cat([first, second], 1), module.norm, training=True)
    assert (first.shape[1], second.shape[1]) == (2, 3)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)


def test_relu_conv_norm():
    torch.manual_seed(0)
    module, x = relu_conv_norm(3, 5, affine=True).double(), images(batch=2, size=3)
    with torch.no_grad():
        expected = normalise(pointwise(relu(x), module[1].weight), module[2], training=True)
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-10)
    assert module[1].bias is None
    assert not relu_conv_norm(3, 5, affine=False)[2].affine


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_noise_is_fresh_standard_normal_whatever_the_input(stride, training):
    noise = build_operation("noise", C, stride, search=True, key=(3, 1)).train(training)
    x = (100 * images(batch=32, channels=C)).requires_grad_()
    torch.manual_seed(0)
    y, again = noise(x), noise(x)
    assert y.shape == (32, C, 8 // stride, 8 // stride)
    assert y.dtype == x.dtype
    assert not y.requires_grad
    assert not torch.equal(y, again)  # random in eval mode too
    n = y.numel()
    assert abs(y.mean().item()) < 4.5 / math.sqrt(n)
    assert abs(y.var().item() - 1) < 4.5 * math.sqrt(2 / n)


def test_noise_is_keyed_by_its_place():
    x = images(channels=C)
    here, there = (build_operation("noise", C, 1, search=True, key=key) for key in ((0, 1), (0, 2)))
    with draws.keyed(0, 0, "train"):
        first = here(x)
        assert torch.equal(first, here(2 * x))
        assert not torch.equal(first, there(x))
    with draws.keyed(0, 1, "train"):
        assert not torch.equal(first, here(x))


def test_unknown_operation():
    with pytest.raises(ConfigError, match=r"operation 'conv_9x9' is unknown; allowed: none, max_pool_3x3"):
        build_operation("conv_9x9", C, 1, search=True)


@pytest.mark.parametrize("probability", [0.2, 0.6])
def test_drop_path_drops_whole_images_and_keeps_the_mean(probability):
    x = images(batch=2000, size=2, channels=2) + 3
    kept = x.clone()
    with draws.keyed(0, 0, "train"):
        y = drop_path(x, probability, "drop_path", 0, 0)
        assert torch.equal(y, drop_path(x, probability, "drop_path", 0, 0))
        assert not torch.equal(y, drop_path(x, probability, "drop_path", 0, 1))
    assert torch.equal(x, kept)  # out of place
    dropped = (y == 0).flatten(1).all(1)
    torch.testing.assert_close(y[~dropped], x[~dropped] / (1 - probability))
    deviation = math.sqrt(probability * (1 - probability) / 2000)
    assert abs(dropped.double().mean().item() - probability) < 4.5 * deviation


def test_drop_path_of_probability_zero_draws_nothing():
    x = images()
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    assert drop_path(x, 0.0, "drop_path") is x
    assert torch.equal(state, torch.random.get_rng_state())


def test_drop_path_hands_the_gradient_to_kept_images_only():
    x = images(batch=64, size=2).requires_grad_()
    with draws.keyed(0, 0, "train"):
        y = drop_path(x, 0.5, "drop_path")
    y.sum().backward()
    dropped = (y == 0).flatten(1).all(1)
    assert 0 < dropped.sum() < 64
    assert x.grad[dropped].eq(0).all()
    assert x.grad[~dropped].eq(2).all()
