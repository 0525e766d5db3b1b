"""Dropout before the classifier: its expectation, its draws, its names, and networks that it does not fit."""

import pytest
import torch
from torch import nn

import nas_lightning as nl
from nas_lightning.core import draws
from nas_lightning.evaluation.dropout import add_dropout
from nas_lightning.spaces.enumeration import random_genotype


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(3, 2)

    def forward(self, x):
        return self.classifier(x)


def dropped(p=0.25):
    torch.manual_seed(0)
    network = Network()
    nn.init.zeros_(network.classifier.bias)
    plain = nn.Linear(3, 2)
    plain.load_state_dict(network.classifier.state_dict())
    add_dropout(network, p, "test")
    return network, plain


def test_units_are_dropped_and_the_rest_is_scaled_up():
    network, plain = dropped()
    x = torch.ones(4000, 3)
    with draws.keyed(0, 0, "evaluation"):
        y = network(x)
    possible = torch.stack([plain(mask / 0.75) for mask in torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)])
    nearest = (y[:, None] - possible).abs().amax(2)
    assert nearest.amin(1).max() < 1e-6  # each image has one of the eight masks
    chances = torch.bincount(nearest.argmin(1), minlength=8) / 4000
    expected = [0.75**k * 0.25 ** (3 - k) for k in (0, 1, 1, 2, 1, 2, 2, 3)]
    assert chances.tolist() == pytest.approx(expected, abs=0.03)
    with draws.keyed(0, 0, "evaluation"):
        assert torch.equal(network(x), y)
    with draws.keyed(0, 1, "evaluation"):
        assert not torch.equal(network(x), y)


def test_nothing_is_dropped_in_evaluation_and_names_stay():
    network, plain = dropped()
    x = torch.randn(5, 3)
    assert torch.equal(network.eval()(x), plain(x))
    assert list(network.state_dict()) == ["classifier.weight", "classifier.bias"]
    assert all(weight.requires_grad and not weight.is_meta for weight in network.parameters())


@pytest.mark.parametrize("name", ["s1", "nasbench201", "mobilenet_small"])
def test_networks_of_spaces_have_a_classifier(name):
    space = nl.build_space(nl.compose([f"space={name}"]))
    sizes = {} if name == "mobilenet_small" else {"init_channels": 4, "layers": 3}
    network = space.network(random_genotype(space, 0), num_classes=3, **sizes)
    add_dropout(network, 0.5, name)
    x = torch.randn(4, 3, 32, 32)
    with draws.keyed(0, 0, "evaluation"):
        first = network(x)
    with draws.keyed(0, 1, "evaluation"):
        second = network(x)
    assert not torch.equal(first, second)


def test_a_network_without_a_classifier_is_refused():
    with pytest.raises(nl.ConfigError, match=r"evaluation\.dropout=0\.5: networks of space=mine have no part"):
        add_dropout(nn.Sequential(nn.Linear(2, 2)), 0.5, "mine")
    add_dropout(nn.Sequential(nn.Linear(2, 2)), 0.0, "mine")
