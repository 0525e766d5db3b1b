"""Quick depthwise convolutions against torch's own, in float64: outputs, gradients, what is counted."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from cases import images
from nas_lightning.core.functional import count_macs
from nas_lightning.spaces.operations import build_operation
from nas_lightning.spaces.quick import QuickDepthwise, quicken

NAMES = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (12, 10), (9, 11), (16, 16)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_equals_torch(kernel, size):
    for stride, dilation, layout in itertools.product((1, 2), (1, 2), (torch.contiguous_format, torch.channels_last)):
        padding = dilation * (kernel - 1) // 2
        module = QuickDepthwise(6, 6, kernel, stride, padding, dilation, groups=6, bias=False).double()
        x = torch.randn(3, 6, *size, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
        weight = module.weight.detach().clone().requires_grad_()
        found, expected = module(x), conv2d(x, weight, None, stride, padding, dilation, 6)
        grad = torch.randn_like(expected)
        gradients = torch.autograd.grad(found, (x, module.weight), grad)
        for a, b in zip(
            (found, *gradients), (expected, *torch.autograd.grad(expected, (x, weight), grad)), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        with torch.no_grad():
            torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_exchange_keeps_weights_keys_and_random_numbers(name, stride):
    torch.manual_seed(0)
    plain = build_operation(name, 6, stride, search=False)
    following = torch.rand(1)
    torch.manual_seed(0)
    operation = build_operation(name, 6, stride, search=False)
    weights = dict(operation.named_parameters())
    assert quicken(operation) is operation
    assert torch.equal(torch.rand(1), following)
    assert dict(operation.named_parameters()) == weights  # the same objects
    assert list(operation.state_dict()) == list(plain.state_dict())
    exchanged = [m for m in operation.modules() if isinstance(m, QuickDepthwise)]
    assert len(exchanged) == (2 if name.startswith("sep") else 1)
    assert count_macs(operation, 6, 16) == count_macs(plain, 6, 16)
    x = images(channels=6, size=16)
    torch.testing.assert_close(operation.double()(x), plain.double()(x), rtol=0, atol=1e-12)


def test_nothing_else_is_exchanged():
    operation = build_operation("nor_conv_3x3", 4, 1, search=False)
    before = list(operation.modules())
    assert list(quicken(operation).modules()) == before
    one_channel = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))  # not depthwise in earnest
    assert not isinstance(quicken(one_channel)[0], QuickDepthwise)


def test_under_autocast():
    """Forward and backward pass go through, in bfloat16."""
    module = QuickDepthwise(6, 6, 5, 1, 4, 2, groups=6, bias=False)
    x = torch.randn(2, 6, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    expected = conv2d(x, module.weight, None, 1, 4, 2, 6)
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=0.05)
    assert x.grad.abs().sum() > 0
