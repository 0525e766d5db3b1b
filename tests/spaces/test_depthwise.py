"""Depthwise convolutions and phases against torch's own convolution, also where images are smaller than kernels."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from cases import seeded
from nas_lightning.core.functional import plain_autograd
from nas_lightning.spaces.depthwise import depthwise, dilated_by_even, dilated_by_phases, from_phases, to_phases
from nas_lightning.spaces.matrices import image, rows


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).requires_grad_()


def convolution_of(channels, size, stride=1, dilation=1):
    made = nn.Conv2d(
        channels, channels, size, stride, dilation * (size - 1) // 2, dilation, groups=channels, bias=False
    )
    with torch.no_grad():
        made.weight = nn.Parameter(random(channels, 1, size, size, seed=1))
    return made


def assert_same(found, expected, leaves):
    """Values and gradients."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    slope = random(*expected.shape, seed=2).detach()
    gradients = (torch.autograd.grad(y, leaves, slope) for y in (found, expected))
    for gradient, other in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(8, 8), (9, 12), (7, 9), (2, 2), (1, 1), (1, 4)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 3, 5, 7, 9])
def test_depthwise(size, stride, shape, layout):
    convolution, x = convolution_of(3, size, stride), random(2, 3, *shape)
    found = depthwise(convolution, x.to(memory_format=layout))
    assert_same(found, convolution(x), [x, convolution.weight])


@pytest.mark.parametrize("shape", [(16, 18), (4, 6), (2, 2), (2, 8)])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_dilated_on_phases(size, shape):
    convolution, x = convolution_of(3, size, dilation=2), random(2, 3, *shape)
    phases = to_phases(x)
    assert phases.shape == (8, 3, shape[0] // 2, shape[1] // 2)
    found = image(from_phases(rows(dilated_by_phases(convolution, phases)), phases.shape), x.shape)
    assert_same(found, convolution(x), [x, convolution.weight])


@pytest.mark.parametrize("shape", [(16, 16), (17, 15), (7, 6), (5, 5), (2, 2), (1, 1)])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_dilated_with_stride_on_even_pixels(size, shape):
    convolution, x = convolution_of(3, size, stride=2, dilation=2), random(2, 3, *shape)
    assert_same(dilated_by_even(convolution, x[:, :, ::2, ::2]), convolution(x), [x, convolution.weight])


def test_phases_there_and_back():
    x = random(2, 3, 6, 4).detach()
    phases = to_phases(x)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        first = 2 * (2 * row + column)  # phase by phase, in each the images
        assert torch.equal(phases[first : first + 2], x[:, :, row::2, column::2])
    assert phases.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(from_phases(rows(phases), phases.shape), rows(x))


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_and_their_gradients(stride):
    convolution, x = convolution_of(2, 5, stride), random(1, 2, 8, 8)
    kernel = convolution.weight.detach().requires_grad_()

    def value(x, kernel):
        del convolution.weight
        convolution.weight = kernel
        return depthwise(convolution, x)

    convolution.register_parameter("weight", None)
    assert gradcheck(value, (x, kernel), fast_mode=True)
    assert gradgradcheck(value, (x, kernel), fast_mode=True)


@pytest.mark.parametrize("wanted", ["image", "kernel"])
def test_gradients_of_one(wanted):
    convolution, x = convolution_of(3, 5), random(2, 3, 8, 8)
    leaves = [x if wanted == "image" else convolution.weight]
    (convolution.weight if wanted == "image" else x).requires_grad_(False)
    assert_same(depthwise(convolution, x), convolution(x), leaves)


def test_the_plain_way():
    convolution, x = convolution_of(3, 5), random(2, 3, 8, 8)
    assert "_Depthwise" in type(depthwise(convolution, x).grad_fn).__name__  # at this size
    with plain_autograd():
        assert "Convolution" in type(depthwise(convolution, x).grad_fn).__name__
        assert_same(depthwise(convolution, x), convolution(x), [x, convolution.weight])


def test_rounding_in_single_precision():
    convolution, x = convolution_of(4, 5), random(8, 4, 16, 16)
    slope = random(8, 4, 16, 16, seed=2).detach()
    (truth,) = torch.autograd.grad(convolution(x), convolution.weight, slope)
    single = nn.Parameter(convolution.weight.detach().float())
    (torchs,) = torch.autograd.grad(F.conv2d(x.float(), single, padding=2, groups=4), single, slope.float())
    convolution.float()
    (ours,) = torch.autograd.grad(depthwise(convolution, x.float()), convolution.weight, slope.float())
    assert (ours - truth).abs().max() <= 20 * (torchs - truth).abs().max() + 1e-5
