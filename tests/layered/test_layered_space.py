"""Spaces of layers: their choices, genotypes, sizes and refusals."""

import pytest
import torch

import nas_lightning as nl
from cases import seeded
from layered_toy import toy
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.layered.options import block_name, sizes_of
from nas_lightning.layered.structure import build_structure
from nas_lightning.reports.drawing import draw_genotype, save_genotype
from nas_lightning.spaces.enumeration import architecture, number_of, random_genotype

TRANSITIONS = (0, 2, 6, 10, 14, 18)


def space(name="mobilenet", *words):
    return nl.build_space(nl.compose([f"space={name}", *words]))


def test_nineteen_layers_have_seven_options_and_six_where_the_shape_changes():
    choice = space().choices["layers"]
    assert (choice.num_rows, choice.num_options, choice.keep) == (19, 7, None)
    blocks = ("e3k3", "e3k5", "e3k7", "e6k3", "e6k5", "e6k7")
    for row, options in enumerate(choice.options):
        assert options == (blocks if row in TRANSITIONS else (*blocks, "skip_connect"))
    assert choice.mask.sum(dim=1).tolist() == [6 if row in TRANSITIONS else 7 for row in range(19)]
    assert (choice.sources, choice.nodes) == (tuple(range(19)), tuple(range(1, 20)))


def test_names_of_blocks_say_their_sizes():
    names = list(space().choices["layers"].options[0])
    assert [sizes_of(name) for name in names] == [(3, 3), (3, 5), (3, 7), (6, 3), (6, 5), (6, 7)]
    assert [block_name(*sizes_of(name)) for name in names] == names


def test_number_of_genotypes():
    assert space().count() == 6**6 * 7**13 == 4_520_453_669_548_992
    assert space("mobilenet_small").count() == 4**3 * 5**4 == 40_000
    assert space("proxyless").count() == 6**6 * 7**15


def test_proxyless_has_the_layers_of_its_paper():
    one = space("proxyless")
    assert [plan.outputs for plan in one.structure.layers] == [w for w in (24, 40, 80, 96, 192) for _ in range(4)] + [
        320
    ]
    assert [plan.index for plan in one.structure.layers if plan.stride == 2] == [0, 4, 8, 16]
    assert [row for row, options in enumerate(one.choices["layers"].options) if "none" not in options] == [
        0, 4, 8, 12, 16, 20,
    ]  # fmt: skip
    assert one.structure.total_stride == 32


def test_multipliers_of_width_and_depth():
    """Widths of MobileNetV2 1.4 and 0.75 as its released code prints them; depths rounded up, as EfficientNet's."""
    stages = ((16, 24, 32, 64, 96, 160, 320), (1,) * 7, (1,) * 7)
    wide = build_structure((32, 2), 16, stages, 1280, 1.4, 1.0)
    assert [plan.outputs for plan in wide.layers] == [24, 32, 48, 88, 136, 224, 448]
    assert (wide.stem, wide.first, wide.tail) == (48, 24, 1792)
    narrow = build_structure((32, 2), 16, stages, 1280, 0.75, 1.0)
    assert [plan.outputs for plan in narrow.layers] == [16, 24, 24, 48, 72, 120, 240]
    assert (narrow.stem, narrow.tail) == (24, 1280)
    deep = build_structure((32, 2), 16, ((32, 40), (2, 4), (2, 2)), 1280, 1.0, 1.2)
    assert [(plan.inputs, plan.outputs, plan.stride) for plan in deep.layers] == [
        (16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 40, 2), (40, 40, 1), (40, 40, 1), (40, 40, 1), (40, 40, 1),
    ]  # fmt: skip


def test_a_genotype_holds_the_strongest_option_of_each_layer():
    """By a loop; the first of equals, and never what a short row lacks."""
    one = toy()
    scores = torch.rand(4, 5, generator=seeded(0))
    scores[2, 4] = 9.0  # an option that layer 2 does not have
    scores[3] = 0.5
    found = one.genotype({"layers": scores}).choices["layers"]
    options = one.choices["layers"].options
    assert found[:3] == [max(options[r], key=lambda op: scores[r, options[r].index(op)]) for r in range(3)]
    assert found[3] == options[3][0]
    with pytest.raises(GenotypeError, match="not numbers"):
        one.genotype({"layers": scores * torch.nan})


@pytest.mark.parametrize("residual", ["inner", "outer"])
@pytest.mark.parametrize("seed", range(3))
def test_paths_numbers_and_genotypes_are_inverse(residual, seed, tmp_path):
    one = toy(residual=residual)
    path = one.sample(seeded(seed))
    found = one.genotype_of(path)
    one.validate(found)
    assert torch.equal(one.path_of(found)["layers"], path["layers"])
    assert architecture(one, number_of(one, found)) == found
    found.save(tmp_path / "genotype.json")
    assert Genotype.load(tmp_path / "genotype.json") == found
    assert Genotype.from_dict(random_genotype(one, seed).to_dict()) == random_genotype(one, seed)


def test_one_line_names_an_architecture():
    assert Genotype("toy", choices={"layers": ["e6k3", "skip_connect"]}).architecture == "|e6k3|skip_connect|"
    assert Genotype("toy", choices={"layers": []}).architecture is None


def test_foreign_genotypes_are_refused():
    one, right = toy(), ["e2k3", "e2k3", "e3k5", "skip_connect"]
    one.validate(Genotype("toy", choices={"layers": right}))
    for choices, message in (
        ({}, r'it needs \{"layers": \[e2k3, …\]\} under choices; choose its own space: space=darts$'),
        ({"layers": right[:3]}, "it has 3 layers, the space has 4"),
        ({"layers": [*right[:2], "skip_connect", "e2k3"]}, "layer 2 is skip_connect; allowed: e2k3, e2k5, e3k3, e3k5;"),
    ):
        with pytest.raises(GenotypeError, match=message):
            one.validate(Genotype("darts", choices=choices))
    with pytest.raises(GenotypeError, match=r"layer 0 takes options \[0, 1\]; one of 5 is taken"):
        one.genotype_of({"layers": torch.ones(4, 5).tril(1)})


def test_the_published_genotype_belongs_to_the_space_and_is_drawn(tmp_path):
    found = nl.genotype("NoisyDARTS-A")
    space().validate(found)
    assert found.choices["layers"].count("skip_connect") == 0
    (figure,) = draw_genotype(found).values()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [text for text in texts if text.startswith("e")] == found.choices["layers"]
    (path,) = save_genotype(found, tmp_path)
    assert path.name == "cell_layers.svg"
    first = path.read_bytes()
    save_genotype(found, tmp_path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": [1]}, r"^space\.widths=\[4, 6\]: 2 stages, and 1 of space\.depths and 2 of space\.strides; give"),
        ({"kernels": [3, 4]}, r"^space\.kernels=\[3, 4\]: sizes of kernels are odd; use 5 instead of 4$"),
        ({"expansions": [3, 3]}, r"^space\.expansions=\[3, 3\]: needs different values"),
    ],
)
def test_structures_that_cannot_be_built_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        toy(**changes)


def test_what_the_space_does_not_have_is_refused():
    one = toy()
    genotype = random_genotype(one, 0)
    with pytest.raises(ConfigError, match=r"~regularizer\.partial_channels"):
        one.variant(partial_channels=4)
    with pytest.raises(ConfigError, match=r"~regularizer\.edge_normalisation"):
        one.variant(edge_weights=True)
    assert one.variant(partial_channels=1).choices == one.choices
    with pytest.raises(ConfigError, match="have no auxiliary head"):
        one.network(genotype, auxiliary=True)
    with pytest.raises(ConfigError, match=r"^layers=20: space=toy has its own; use layers=None"):
        one.network(genotype, layers=20)
    with pytest.raises(ConfigError, match=r"^init_channels=16: space=toy has its own"):
        one.supernet(init_channels=16)
    with pytest.raises(ConfigError, match=r"^data\.image_size=9: .* reduce it by 2; .* data\.image_size=8"):
        one.check_image_size(9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search.layers=3"], r"^search\.layers=3: space=mobilenet_small has no such size; .* section space"),
        (["evaluation.init_channels=16"], r"^evaluation\.init_channels=16: .* use evaluation\.init_channels=null$"),
        (["evaluation.auxiliary=0.4"], r"^evaluation\.auxiliary=0\.4: .* use evaluation\.auxiliary=0$"),
        (["space=s3", "evaluation.layers=null"], r"^evaluation\.layers=null: space=s3 needs it"),
    ],
)
def test_sizes_in_the_wrong_section_are_refused_before_a_run(words, message, tmp_path):
    from nas_lightning.config.compose import as_dict
    from nas_lightning.runs.folder import RunFolder
    from nas_lightning.tasks.run import run_task

    config = nl.compose(["space=mobilenet_small", "trainer=cpu", *words])
    with pytest.raises(ConfigError, match=message):
        run_task(as_dict(config), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
