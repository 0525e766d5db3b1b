"""The average pool as a convolution against torch's own pool."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from cases import seeded
from nas_lightning.core.functional import plain_autograd
from nas_lightning.spaces.average_pool import pool_of
from nas_lightning.spaces.operations import AveragePool


def random(*shape):
    return torch.randn(*shape, generator=seeded(0), dtype=torch.float64).requires_grad_()


def average(stride=1, **changes):
    return AveragePool(3, stride, padding=1, **{"count_include_pad": False, **changes})


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(5, 8), (1, 1), (2, 1), (3, 2)])
def test_the_pool(size, layout):
    x = random(2, 3, *size)
    found, expected = pool_of(average(), x.to(memory_format=layout)), average()(x)
    assert "AveragePool" in type(found.grad_fn).__name__
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    slope = torch.randn(found.shape, generator=seeded(1), dtype=torch.float64)
    gradients = [torch.autograd.grad(y, x, slope)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-14)


def test_gradients_of_gradients():
    x = random(1, 2, 3, 4)
    assert gradcheck(lambda x: pool_of(average(), x) ** 2, x)
    assert gradgradcheck(lambda x: pool_of(average(), x) ** 2, x)


OTHERS = [
    average(2),
    average(count_include_pad=True),
    average(divisor_override=5),
    AveragePool(5, 1, padding=2, count_include_pad=False),
    torch.nn.MaxPool2d(3, 1, padding=1),
]


@pytest.mark.parametrize("pool", OTHERS, ids=str)
def test_other_pools_are_called(pool):
    x = random(2, 3, 6, 6)
    assert torch.equal(pool_of(pool, x), pool(x))


def test_without_gradients_by_hand():
    x = random(2, 3, 4, 4)
    with plain_autograd():
        assert torch.equal(pool_of(average(), x), average()(x))
