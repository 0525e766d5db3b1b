"""Networks of layers: sizes of the released ones, and stochastic depth. Counted on `meta`: no number is computed."""

import pytest
import torch

import nas_lightning as nl
from cases import images
from layered_toy import toy, toy_supernet
from nas_lightning.core import draws
from nas_lightning.core.functional import count_macs, count_parameters
from nas_lightning.core.genotypes import Genotype

LAYERS = [34_800, 83_040, 90_048, *[121_080] * 3, 164_760, *[414_960] * 3, 449_712, *[580_896] * 3, 830_880,
          *[2_157_120] * 3, 2_822_208]  # fmt: skip
"""Parameters of the six blocks of each layer."""
MACS = [
    (15.81, 18.21, 21.83, 31.61, 36.43, 43.65), (21.98, 26.79, 34.02, 43.95, 53.59, 68.04),
    (13.32, 14.53, 16.33, 26.64, 29.05, 32.66), *[(8.37, 9.88, 12.14, 16.75, 19.76, 24.27)] * 3,
    (5.86, 6.23, 6.80, 11.71, 12.47, 13.59), *[(7.95, 8.70, 9.83, 15.90, 17.40, 19.66)] * 3,
    (8.70, 9.46, 10.58, 17.40, 18.91, 21.17), *[(11.35, 12.25, 13.60, 22.69, 24.50, 27.21)] * 3,
    (8.26, 8.48, 8.82, 16.51, 16.96, 17.64), *[(11.09, 11.54, 12.22, 22.18, 23.09, 24.44)] * 3,
    (14.70, 15.16, 15.83, 29.41, 30.31, 31.67),
]  # fmt: skip
"""Multiply-accumulates of each block in millions, for 224 × 224 pixels."""


@pytest.fixture(scope="module")
def space():
    return nl.build_space(nl.compose(["space=mobilenet"]))


def sizes(space, layers, num_classes=1000, side=224):
    with torch.device("meta"):
        network = space.network(Genotype("mobilenet", choices={"layers": layers}), num_classes)
        return count_parameters(network), count_macs(network, 3, side)


NOISY_DARTS_A = nl.genotype("noisy_darts_a").choices["layers"]


@pytest.mark.parametrize(
    ("classes", "words", "expected"),
    [
        (1000, [], (4_882_184, 446_014_976)),
        (10, [], (3_613_994, 444_747_776)),
        (1000, ["space.se=true", "space.activation=swish"], (5_547_124, 446_669_312)),
        (10, ["space.se=true", "space.activation=swish"], (4_278_934, 445_402_112)),
    ],
)
def test_noisy_darts_a_has_its_published_size(classes, words, expected):
    one = nl.build_space(nl.compose(["space=mobilenet", *words]))
    assert sizes(one, NOISY_DARTS_A, classes) == expected


def test_noisy_darts_a_on_small_images():
    one = nl.build_space(nl.compose(["space=mobilenet", "space.stem_stride=1", "space.strides=[1,2,2,1,2,1]"]))
    assert sizes(one, NOISY_DARTS_A, 10, 32) == (3_613_994, 135_401_984)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("e3k3", (3_189_080, 247_129_856)),
        ("e3k5", (3_271_256, 268_203_776)),
        ("e3k7", (3_394_520, 299_814_656)),
        ("e6k3", (4_679_144, 452_036_096)),
        ("e6k5", (4_843_496, 494_183_936)),
        ("e6k7", (5_090_024, 557_405_696)),
    ],
)
def test_uniform_networks(space, block, expected):
    assert sizes(space, [block] * 19) == expected


def test_the_shallowest_network(space):
    layers = ["skip_connect" if "skip_connect" in options else "e3k3" for options in space.choices["layers"].options]
    assert layers.count("skip_connect") == 13
    assert sizes(space, layers) == (2_158_000, 108_869_888)


@pytest.mark.parametrize(("affine", "expected"), [(True, 15_992_600), (False, 15_783_512)])
def test_the_supernet_has_the_parameters_of_all_blocks(affine, expected):
    with torch.device("meta"):
        one = nl.build_space(nl.compose(["space=mobilenet", f"space.affine={str(affine).lower()}"]))
        supernet = one.supernet(num_classes=1000)
    assert count_parameters(supernet) == expected
    if affine:
        assert [count_parameters(layer) for layer in supernet.layers] == LAYERS


def test_multiply_accumulates_of_each_block(space):
    """Of single blocks, counted one by one, for images of the side that they read."""
    total, side, fixed = 0, 112, sizes(space, NOISY_DARTS_A)[1]
    with torch.device("meta"):
        supernet = space.supernet(num_classes=1000)
    for layer, plan, row, name in zip(supernet.layers, space.structure.layers, MACS, NOISY_DARTS_A, strict=True):
        counted = [count_macs(operation, plan.inputs, side) for operation in layer.operations[:6]]
        assert [round(macs / 1e6, 2) for macs in counted] == pytest.approx(row, abs=0.011)
        fixed -= counted[layer.names.index(name)]
        total += sum(counted)
        side //= plan.stride
    assert round(total / 1e6, 1) == 2065.4
    assert round(fixed / 1e6, 1) == 42.2  # stem, first block, tail and classifier


def test_timm_builds_the_same_network():
    """An independent builder, where it is installed."""
    efficientnet = pytest.importorskip("timm.models.efficientnet")
    decode = pytest.importorskip("timm.models._efficientnet_builder").decode_arch_def
    strides, widths = (2, 2, 2, 1, 2, 1), (32, 40, 80, 96, 192, 320)
    names, stages = iter(NOISY_DARTS_A), [["ds_r1_k3_s1_c16_noskip"]]
    for width, depth, stride in zip(widths, (2, 4, 4, 4, 4, 1), strides, strict=True):
        blocks = []
        for place in range(depth):
            e, k = next(names)[1:].split("k")
            blocks.append(f"ir_r1_k{k}_s{stride if place == 0 else 1}_e{e}_c{width}")
        stages.append(blocks)
    network = efficientnet.EfficientNet(decode(stages), num_features=1280, stem_size=32)
    assert count_parameters(network) == 4_882_184


@pytest.mark.parametrize("residual", ["inner", "outer"])
def test_one_hot_mixing_is_the_network_layer_by_layer(residual):
    """With copied weights, for every option of every layer, in float64."""
    one = toy(residual=residual)
    supernet, choice = toy_supernet(one), one.choices["layers"]
    x = supernet.stem(images(size=8))
    for number in range(choice.num_options):
        names = [options[min(number, len(options) - 1)] for options in choice.options]
        path = one.path_of(Genotype("toy", choices={"layers": names}))
        network = one.network(Genotype("toy", choices={"layers": names}), 3).double()
        network.stem.load_state_dict(supernet.stem.state_dict())
        network.tail.load_state_dict(supernet.tail.state_dict())
        network.classifier.load_state_dict(supernet.classifier.state_dict())
        before = y = x
        for row, (mixed, layer, name) in enumerate(zip(supernet.layers, network.layers, names, strict=True)):
            operation = mixed.operations[mixed.names.index(name)]
            layer.load_state_dict(operation.state_dict())
            before = mixed(before, path["layers"][row].double(), path["layers"][row].bool().tolist(), ())
            y = layer(y)
            torch.testing.assert_close(before, y, rtol=1e-12, atol=1e-12)
        mixing, active = {"layers": path["layers"].double()}, {"layers": path["layers"].bool()}
        torch.testing.assert_close(supernet(images(size=8), mixing, active), network(images(size=8)))


def test_stochastic_depth_drops_what_a_layer_adds():
    """Against the layers called one by one: dropped images pass unchanged, the others get 1 / (1 − p·l / L)."""
    one = toy()
    network = one.network(Genotype("toy", choices={"layers": ["e2k3", "e3k3", "e2k5", "e3k5"]}), 3).double().train()
    network.drop_probability = 0.6
    x = images(batch=32, size=8)
    with draws.keyed(0, 0, "training"):
        found = network(x)
        kept = {row: draws.keep_mask(draws.sample_like(x), 1 - 0.6 * row / 4, "drop_path", row) for row in (0, 1, 3)}
    y = network.stem(x)
    for row, layer in enumerate(network.layers):
        change = layer.block(y)
        y = change if row == 2 else y + change * kept[row] / (1 - 0.6 * row / 4)
    torch.testing.assert_close(found, network.classifier(network.tail(y).mean((2, 3))))
    assert kept[0].all()
    assert 0 < kept[3].sum() < 32
    network.eval()
    with draws.keyed(0, 0, "test"):
        first = network(x)
    network.drop_probability = 0.0
    assert torch.equal(first, network(x))
