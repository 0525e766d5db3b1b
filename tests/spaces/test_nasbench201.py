"""The space of NAS-Bench-201 as data: its choice, genotypes, drawing, counting, what it refuses."""

from collections import Counter

import pytest
import torch

from cases import TINY, seeded
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.reports import save_genotype
from nas_lightning.spaces import Genotype, NasBench201Space, genotype

SPACE = NasBench201Space()
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))


def test_the_choice():
    (choice,) = SPACE.choices.values()
    assert (choice.name, choice.kind, choice.keep, choice.none_selectable) == ("cell", "op", None, True)
    assert choice.options == (OPS,) * 6
    assert tuple(zip(choice.nodes, choice.sources, strict=True)) == EDGES
    assert choice.mask.all()
    assert choice.selectable.all()
    assert (choice.num_rows, choice.num_options) == (6, 5)


def test_genotype_is_the_best_of_each_edge_none_included():
    scores = torch.rand(50, 6, 5, generator=seeded(0))
    for table in scores:
        found = SPACE.genotype({"cell": table})
        expected = tuple(
            (node, OPS[max(range(5), key=lambda o, row=row: float(table[row, o]))], source)
            for row, (node, source) in enumerate(EDGES)
        )
        assert found == Genotype("nasbench201", {"cell": expected}, {"cell": (3,)})
        assert SPACE.genotype({"cell": table}, keep=1) == found
    assert any(op == "none" for table in scores for _, op, _ in SPACE.genotype({"cell": table}).cells["cell"])


def test_of_equals_the_first():
    assert [op for _, op, _ in SPACE.genotype({"cell": torch.zeros(6, 5)}).cells["cell"]] == ["none"] * 6
    scores = torch.tensor([[0.1, 0.3, 0.3, 0.3, 0.0]] * 6)
    assert [op for _, op, _ in SPACE.genotype({"cell": scores}).cells["cell"]] == ["skip_connect"] * 6


def test_strengths_that_are_not_numbers():
    scores = torch.zeros(6, 5)
    scores[3, 2] = float("nan")
    with pytest.raises(GenotypeError, match=r"strengths of 'cell' are not numbers.*search\.weights\.lr"):
        SPACE.genotype({"cell": scores})


def test_drawing_is_uniform_and_there_and_back():
    rng, counts = seeded(1), Counter()
    for _ in range(600):
        path = SPACE.sample(rng)
        assert path["cell"].sum(dim=1).tolist() == [1] * 6
        found = SPACE.genotype_of(path)
        assert SPACE.genotype(path) == found
        counts.update(op for _, op, _ in found.cells["cell"])
    assert set(counts) == set(OPS)
    assert all(abs(counts[op] - 720) < 5 * (3600 * 0.2 * 0.8) ** 0.5 for op in OPS)
    without = SPACE.sample(seeded(2), none=False)
    assert without["cell"][:, 0].sum() == 0


@pytest.mark.parametrize("taken", [(), (1, 3)])
def test_paths_take_one_operation_an_edge(taken):
    path = SPACE.sample(seeded(3))
    path["cell"][4] = 0
    path["cell"][4, list(taken)] = 1
    with pytest.raises(GenotypeError, match=r"the edge from 1 to 3 takes options \[.*\]; one of 5 must be"):
        SPACE.genotype_of(path)


def test_count():
    assert SPACE.count() == 15_625


def test_validate():
    SPACE.validate(genotype("nasbench201_drnas"))
    with pytest.raises(GenotypeError, match=r"space 'darts' does not belong .* space=darts"):
        SPACE.validate(genotype("darts_v1"))
    own = Genotype("nasbench201", {"cell": ((1, "none", 0),)}, {"cell": (3,)})
    with pytest.raises(GenotypeError, match=r"0 to 1, 0 to 2, 1 to 2, .* avg_pool_3x3, and the output of node 3$"):
        SPACE.validate(own)


@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_image_sizes(size):
    SPACE.check_image_size(size, 5, "cifar")
    net = SPACE.supernet(**{**TINY, "layers": 1})
    mixing = {"cell": torch.full((6, 5), 0.2)}
    assert net(torch.zeros(2, 3, size, size), mixing).shape == (2, TINY["num_classes"])


@pytest.mark.parametrize(("size", "nearest"), [(30, 32), (2, 4), (3, 4), (17, 16)])
def test_image_sizes_that_cannot_be_halved_twice(size, nearest):
    with pytest.raises(
        ConfigError, match=rf"data\.image_size={size}: .*multiple of 4; use data\.image_size={nearest} "
    ):
        SPACE.check_image_size(size, 1, "cifar")


def test_the_only_stem():
    for refuse in (
        lambda: SPACE.check_image_size(32, 5, "imagenet"),
        lambda: SPACE.supernet(stem="imagenet"),
        lambda: SPACE.network(genotype("nasbench201_darts"), stem="imagenet"),
    ):
        with pytest.raises(ConfigError, match=r"stem=imagenet: .*search\.stem=cifar"):
            refuse()


def test_variants():
    narrow = SPACE.variant(partial_channels=4)
    assert (narrow.partial_channels, SPACE.partial_channels) == (4, 1)
    assert narrow.choices == SPACE.choices
    assert SPACE.variant(edge_weights=False).edge_weights is False
    with pytest.raises(ConfigError, match=r"space=nasbench201: a node keeps all its edges"):
        SPACE.variant(edge_weights=True)


def test_unknown_engine():
    with pytest.raises(ConfigError, match="engine=warp: unknown; allowed: auto, fast, reference"):
        SPACE.supernet(engine="warp")


def test_drawing_of_the_cell(tmp_path):
    (path,) = save_genotype(genotype("nasbench201_drnas"), tmp_path)
    svg = path.read_text()
    assert path.name == "cell_cell.svg"
    assert svg.count(">nor_conv_3x3</text>") == 5
    assert svg.count(">skip_connect</text>") == 1
    assert "$c_{k-1}$" in svg
    assert "$c_{k-2}$" not in svg
