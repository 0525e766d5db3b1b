"""The numbers of architectures: all of them, each once, in an order that does not change."""

from itertools import product

import pytest
import torch

import nas_lightning as nl
from cases import build_space, random_genotype, seeded
from nas_lightning.core.errors import GenotypeError
from nas_lightning.spaces import CellSpace, Genotype, NasBench201Space
from nas_lightning.spaces.enumeration import architecture, architectures, count, number_of

SEP, SKIP, MAX = "sep_conv_3x3", "skip_connect", "max_pool_3x3"


def s5_cell(first, second):
    return ((2, first, 0), (2, second, 1))


def test_s5_by_hand():
    """Four nested loops over the operations: normal cell first, the last edge of the reduction cell fastest."""
    space = build_space("s5")
    concat = {"normal": (2,), "reduce": (2,)}
    by_hand = [
        Genotype("s5", {"normal": s5_cell(a, b), "reduce": s5_cell(c, d)}, concat)
        for a, b, c, d in product((SEP, SKIP, MAX), repeat=4)
    ]
    found = list(architectures(space))
    assert found == by_hand
    assert len(found) == count(space) == space.count() == 81
    assert len({one.architecture for one in found}) == 81


def test_golden_numbers():
    space = build_space("s5")
    golden = {
        0: f"normal |{SEP}~0|{SEP}~1| reduce |{SEP}~0|{SEP}~1|",
        1: f"normal |{SEP}~0|{SEP}~1| reduce |{SEP}~0|{SKIP}~1|",
        29: f"normal |{SKIP}~0|{SEP}~1| reduce |{SEP}~0|{MAX}~1|",
        80: f"normal |{MAX}~0|{MAX}~1| reduce |{MAX}~0|{MAX}~1|",
    }
    assert {number: architecture(space, number).architecture for number in golden} == golden


def test_the_order_of_edges_does_not_matter():
    space = build_space("s5")
    for number, found in enumerate(architectures(space)):
        turned = Genotype(found.space, {n: edges[::-1] for n, edges in found.cells.items()}, found.concat)
        assert number_of(space, turned) == number
        assert turned.architecture == found.architecture


def test_edges_are_chosen_too():
    """Two of three edges with two operations besides none, and one node before it: 4 ways, then 3 · 4."""
    space = CellSpace("x", ["none", SEP, SKIP], num_nodes=2)
    assert count(space) == space.count() == (4 * 12) ** 2
    found = [one.architecture for one in architectures(space)]
    assert len(set(found)) == 2304
    assert found[0] == f"normal |{SEP}~0|{SEP}~1|+|{SEP}~0|{SEP}~1| reduce |{SEP}~0|{SEP}~1|+|{SEP}~0|{SEP}~1|"
    assert found[4].endswith(f"reduce |{SEP}~0|{SEP}~1|+|{SEP}~0|{SEP}~2|")  # the next pair of edges
    assert all(number_of(space, architecture(space, number)) == number for number in range(0, 2304, 7))


@pytest.mark.parametrize("name", ["s1", "s3", "darts"])
def test_what_searches_end_with_has_a_number(name):
    space = build_space(name)
    assert count(space) == space.count()
    for seed in range(5):
        found = random_genotype(space, seed)
        assert architecture(space, number_of(space, found)).architecture == found.architecture


def test_nasbench201():
    space = NasBench201Space()
    assert count(space) == 15_625
    # The numbers that the benchmark's own code checks.
    anchors = {
        0: "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
        9: "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
        123: "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
    }
    for number, text in anchors.items():
        assert architecture(space, number).arch_str == text
        assert number_of(space, Genotype.from_arch_str(text)) == number
    assert sorted(space.numbering()) == list(range(15_625))
    drawn = space.genotype_of(space.sample(seeded(3)))
    assert architecture(space, number_of(space, drawn)) == drawn


def test_mistakes():
    space = build_space("s5")
    with pytest.raises(GenotypeError, match=r"genotype=81: space=s5 has 81 architectures; give a number from 0 to 80"):
        architecture(space, 81)
    one_edge = Genotype(
        "s5", dict.fromkeys(("normal", "reduce"), ((2, SEP, 0),)), dict.fromkeys(("normal", "reduce"), (2,))
    )
    with pytest.raises(GenotypeError, match=r"node 2 of the normal cell is fed by sep_conv_3x3"):
        number_of(space, one_edge)
    with pytest.raises(GenotypeError, match="does not belong to space 's5'"):
        number_of(space, random_genotype(build_space("s3")))


def test_numbers_on_the_command_line(tiny):
    words = [word for word in tiny if not word.startswith("space=")]
    config = nl.compose([*words, "task=evaluate", "space=s5", "genotype=80", "evaluation.epochs=1"])
    found = nl.evaluate(config)
    assert found.summary["genotype"]["cells"]["reduce"] == [[2, MAX, 0], [2, MAX, 1]]
    assert found.summary["method"] == "80"
    with pytest.raises(nl.ConfigError, match=r"genotype=81: .*0 to 80"):
        nl.evaluate(nl.compose([*words, "task=evaluate", "space=s5", "genotype=81"]))
    with pytest.raises(nl.ConfigError, match="genotype"):
        nl.compose([*words, "genotype=true"])


def test_the_path_is_the_genotype_of_one_hot_strengths():
    """Independent: scores that are one on the options of the genotype discretise to it."""
    space = build_space("s5")
    for number in range(0, 81, 5):
        found = architecture(space, number)
        scores = {
            name: torch.tensor([[float((n, op, s) in found.cells[name]) for op in options] for n, s, options in rows])
            for name, choice in space.choices.items()
            for rows in [list(zip(choice.nodes, choice.sources, choice.options, strict=True))]
        }
        assert space.genotype(scores).architecture == found.architecture
