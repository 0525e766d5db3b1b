"""Published genotypes: the networks that they describe have the published sizes."""

import pytest

import nas_lightning as nl
from cases import build_space
from nas_lightning.core.functional import count_macs
from nas_lightning.spaces.published import PUBLISHED, published_name

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


EXACT = {
    # Parameters without the auxiliary head, counted with the released codes; multiply-accumulates or None.
    "darts_v1": (3_169_414, None),
    "darts_v2": (3_349_342, None),
    "pc_darts_cifar10": (3_634_678, None),
    "pc_darts_imagenet": (3_721_510, None),
    "pdarts": (3_433_798, 532_174_464),
    "sdarts_rs_cifar10": (3_606_166, None),
    "sdarts_adv_cifar10": (3_344_806, None),
    "shapley_nas": (3_603_358, 558_218_880),
    "fair_darts_a": (2_360_782, None),
    "fair_darts_b": (3_407_878, None),
    "fair_darts_c": (2_598_814, None),
    "fair_darts_d": (3_365_542, None),
    "fair_darts_e": (2_643_742, None),
    "fair_darts_f": (3_151_054, None),
    "fair_darts_g": (2_899_054, None),
    "lambda_darts_0": (3_320_614, 522_635_904),
    "lambda_darts_1": (3_672_910, None),
    "lambda_darts_2": (3_534_454, None),
    "lambda_darts_3": (3_604_438, None),
    "dots_cifar10": (3_526_030, 546_662_016),
    "oles_cifar10": (4_222_414, 668_423_808),
    "oles_cifar100": (2_587_942, None),
}


@pytest.mark.parametrize("name", EXACT)
def test_cifar_networks_have_the_parameters_of_the_released_codes(name):
    network = build_space("darts").network(nl.genotype(name), init_channels=36, layers=20)
    params, macs = EXACT[name]
    assert nl.count_parameters(network) == params
    if macs is not None:
        assert count_macs(network, 3, 32) == macs


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("DARTS_V2", "darts_v2"),
        ("P-DARTS", "pdarts"),
        ("PDARTS", "pdarts"),
        ("PC_DARTS_cifar", "pc_darts_cifar10"),
        ("DrNAS_ImageNet", "drnas_imagenet"),
        ("GDAS V1", "gdas_v1"),
        ("lambdadarts_corr_2", "lambda_darts_2"),
        ("DOTS_final_C10", "dots_cifar10"),
    ],
)
def test_names_in_the_spelling_of_other_codes(spelling, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert published_name(spelling) == name
    assert nl.genotype(spelling) is PUBLISHED[name]


def test_a_file_wins_over_another_spelling_but_not_over_the_name_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("SNAS", "snas"):
        (tmp_path / name).mkdir()
        PUBLISHED["darts_v1"].save(tmp_path / name / "genotype.json")
    assert nl.genotype("SNAS") == PUBLISHED["darts_v1"]
    assert nl.genotype("snas") is PUBLISHED["snas"]


@pytest.mark.parametrize(("name", "params"), [("pc_darts_imagenet", 5.3), ("drnas_imagenet", 5.7)])
def test_imagenet_networks_have_the_published_sizes(name, params):
    network = build_space("darts").network(nl.genotype(name), 1000, init_channels=48, layers=14, stem="imagenet")
    assert round(nl.count_parameters(network) / 1e6, 1) == params


def test_all_belong_to_their_space():
    for name, found in PUBLISHED.items():
        nl.build_space(nl.compose([f"space={found.space}"])).validate(found)
        assert nl.genotype(name) == found
