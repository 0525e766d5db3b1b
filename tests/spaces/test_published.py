"""Published genotypes: the networks that they describe have the published sizes."""

import pytest

import nas_lightning as nl
from cases import build_space
from nas_lightning.core.functional import count_macs
from nas_lightning.spaces.published import PUBLISHED

SIZES = {
    # Parameters in millions as printed (CIFAR-10: 36 channels, 20 cells), multiply-accumulates in millions or None.
    "darts_v2": (3.3, 528),
    "pc_darts_cifar10": (3.6, None),
    "drnas_cifar10": (4.1, None),
    "gdas_v1": (3.4, 519),
    "snas": (2.7, 422),
}


@pytest.mark.parametrize("name", SIZES)
def test_cifar_networks_have_the_published_sizes(name):
    network = build_space("darts").network(nl.genotype(name), init_channels=36, layers=20)
    params, macs = SIZES[name]
    assert round(nl.count_parameters(network) / 1e6, 1) == params
    if macs is not None:
        assert round(count_macs(network, 3, 32) / 1e6) == macs


@pytest.mark.parametrize(("name", "params"), [("pc_darts_imagenet", 5.3), ("drnas_imagenet", 5.7)])
def test_imagenet_networks_have_the_published_sizes(name, params):
    network = build_space("darts").network(nl.genotype(name), 1000, init_channels=48, layers=14, stem="imagenet")
    assert round(nl.count_parameters(network) / 1e6, 1) == params


def test_all_belong_to_their_space():
    for name, found in PUBLISHED.items():
        nl.build_space(nl.compose([f"space={found.space}"])).validate(found)
        assert nl.genotype(name) == found
