"""NASWOT: the kernel is a count of agreements, by brute force and by Hamming distances; closed forms of the score."""

import itertools
import math

import pytest
import torch
from torch import nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.proxies import Naswot, Sample
from nas_lightning.proxies.naswot import code_kernel


def images(number, *shape, seed=0):
    return torch.randn(number, *shape, generator=torch.Generator().manual_seed(seed))


def sample(inputs):
    return Sample(inputs, torch.zeros(len(inputs), dtype=torch.long), nn.functional.cross_entropy, inputs[:1])


def agreements(codes):
    """K by brute force: for two images the units that are both on or both off, counted one by one."""
    table = [[bool(unit > 0) for unit in row] for row in codes.flatten(1).tolist()]
    return [[sum(a == b for a, b in zip(one, other, strict=True)) for other in table] for one in table]


def test_one_layer_is_the_width_less_the_hamming_distance():
    torch.manual_seed(0)
    layer = nn.Linear(6, 11)
    x = images(5, 6)
    kernel = Naswot().kernel(nn.Sequential(layer, nn.ReLU()), sample(x))
    codes = (layer(x) > 0).tolist()
    for i, j in itertools.product(range(5), repeat=2):
        distance = sum(a != b for a, b in zip(codes[i], codes[j], strict=True))
        assert kernel[i, j] == 11 - distance
    assert kernel.dtype == torch.float64


def test_the_kernel_counts_agreements_over_all_relus():
    """ReLUs as modules, as functions and in place; one that is used twice counts twice."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.linear = nn.Conv2d(2, 3, 3), nn.Linear(48, 9)
            self.module, self.in_place = nn.ReLU(), nn.ReLU(inplace=True)

        def forward(self, x):
            self.seen = [self.conv(x)]
            y = torch.relu(self.seen[0]).flatten(1)
            self.seen.append(self.linear(y))
            z = self.in_place(self.seen[1].clone())
            self.seen.append(z - 0.1)
            return nn.functional.relu(self.module(self.seen[2]) - 0.05)

    net, x = Net(), images(4, 2, 6, 6)
    kernel = Naswot().kernel(net, sample(x))
    codes = [*net.seen, torch.relu(net.seen[2]) - 0.05]
    expected = sum(torch.tensor(agreements(one)) for one in codes)
    assert torch.equal(kernel, expected.double())
    sign, logarithm = torch.linalg.slogdet(expected.double())
    assert sign > 0
    assert Naswot()(net, sample(x)) == pytest.approx(float(logarithm), rel=1e-12)


def test_code_kernel_of_zeros_and_ties():
    """An input of exactly 0 is off."""
    assert code_kernel(torch.tensor([[0.0, 1.0], [-1.0, 0.0]])).tolist() == [[2, 1], [1, 2]]


def test_one_image_gives_the_logarithm_of_the_number_of_units():
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 7), nn.ReLU())
    assert Naswot()(net, sample(images(1, 1, 4, 4))) == pytest.approx(math.log(3 * 4 * 4 + 7), rel=1e-14)


@pytest.mark.parametrize("equal", [(0, 1, 2, 3), (1, 3)])
def test_identical_images_give_minus_infinity(equal):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 30), nn.ReLU())
    x = images(4, 1, 6, 6)
    assert math.isfinite(Naswot()(net, sample(x)))
    x[list(equal)] = x[equal[0]].clone()
    assert Naswot()(net, sample(x)) == -math.inf


def test_orthogonal_codes_by_hand():
    """K = [[n, n/2], [n/2, n]] has the determinant 3n²/4."""
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0]])
    assert Naswot()(nn.ReLU(), sample(x)) == pytest.approx(math.log(12), rel=1e-14)


def test_a_network_without_relus_is_refused():
    with pytest.raises(ConfigError, match=r"^proxy: the network has no ReLU, .*; use another proxy$"):
        Naswot()(nn.Linear(2, 2), sample(images(2, 2)))
