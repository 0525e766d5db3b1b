"""The disparity space: its choices, genotypes and refusals."""

import pytest
import torch

from cases import seeded
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.disparity import DisparitySpace
from nas_lightning.spaces.enumeration import random_genotype

S6 = ("sep_conv_3x3", "max_pool_3x3", "skip_connect")


def space(**changes):
    sizes = {"stems": (5,), "features": 1, "encoder": 2, "decoder": 2, "max_displacement": 4}
    return DisparitySpace("disparity", S6, **{**sizes, **changes})


def scores(choices, seed=0):
    return {
        name: torch.rand(choice.num_rows, choice.num_options, generator=seeded(seed))
        for name, choice in choices.items()
    }


def test_there_are_99_architecture_parameters():
    choices = space().choices
    assert {name: choice.num_rows for name, choice in choices.items()} == {"normal": 9, "reduce": 9, "up": 15}
    assert sum(int(choice.mask.sum()) for choice in choices.values()) == 99
    assert choices["up"].rows_of_node == {4: [0, 1, 2, 3], 5: [4, 5, 6, 7, 8], 6: [9, 10, 11, 12, 13, 14]}


@pytest.mark.parametrize("keep", [None, 1, 3])
def test_the_first_node_of_the_decoder_keeps_an_edge_from_each_input(keep):
    found = space().genotype(scores(space().choices), keep)
    fed = [node for node, _, _ in found.cells["up"]]
    assert [fed.count(node) for node in (4, 5, 6)] == [4, keep or 2, keep or 2]
    assert sorted(source for node, _, source in found.cells["up"] if node == 4) == [0, 1, 2, 3]
    for kind in ("normal", "reduce"):
        fed = [node for node, _, _ in found.cells[kind]]
        assert [fed.count(node) for node in (2, 3, 4)] == [min(keep or 2, n) for n in (2, 3, 4)]


def test_genotypes_hold_the_strongest_edges_with_their_best_operation():
    """By a loop over the edges of each node."""
    one = space()
    table = scores(one.choices, 3)
    found = one.genotype(table)
    for name, choice in one.choices.items():
        for node, rows in choice.rows_of_node.items():
            best = sorted(rows, key=lambda row: -float(table[name][row].max()))[: 4 if (name, node) == ("up", 4) else 2]
            expected = [(node, S6[int(table[name][row].argmax())], choice.sources[row]) for row in best]
            assert [edge for edge in found.cells[name] if edge[0] == node] == expected


def test_number_of_genotypes():
    """3² · C(3,2)·3² · C(4,2)·3² of either cell of the encoder; 3⁴ · C(5,2)·3² · C(6,2)·3² of the decoder's."""
    assert space().count() == (9 * 27 * 54) ** 2 * 81 * 90 * 135


@pytest.mark.parametrize("seed", range(3))
def test_paths_and_genotypes_are_inverse(seed):
    one = space()
    found = one.genotype_of(one.sample(seeded(seed)))
    one.validate(found)
    path = one.path_of(found)
    assert one.genotype_of(path) == found
    assert {name: int(table.sum()) for name, table in path.items()} == {"normal": 6, "reduce": 6, "up": 8}
    drawn = random_genotype(one, seed)
    assert Genotype.from_dict(drawn.to_dict()) == drawn


def test_foreign_genotypes_are_refused():
    one = space()
    found = random_genotype(one, 0)
    fewer = {**found.cells, "up": found.cells["up"][1:]}
    with pytest.raises(GenotypeError, match=r"node 4 of the up cell reads .*; it reads all inputs, \[0, 1, 2, 3\]$"):
        one.validate(Genotype("disparity", fewer, found.concat))
    with pytest.raises(GenotypeError, match=r"the reduce cell joins nodes \[2\]; allowed: \[2, 3, 4\]$"):
        one.validate(Genotype("disparity", found.cells, {**found.concat, "reduce": (2,)}))
    with pytest.raises(GenotypeError, match="not for"):
        one.validate(Genotype("darts", {"normal": found.cells["normal"]}, {"normal": (2, 3, 4)}))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((60, 128), r"^data\.height=60: networks of space=disparity halve it 3 times; .*data\.height=64$"),
        ((64, 129), r"^data\.width=129: .* multiple of 8, e\.g\. data\.width=128$"),
        ((64, 16), r"^space\.max_displacement=4: .* of 16 columns have 4; use at most space\.max_displacement=3$"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ConfigError, match=message):
        space().check_pairs(*sizes)
    space().check_pairs(64, 128)


def test_disparities_out_of_reach_are_refused_with_their_share():
    with pytest.raises(
        ConfigError,
        match=r"^space\.max_displacement=4: .* 16 px, and 12\.5 % .*, up to 21\.5 px; use space\.max_displacement=6$",
    ):
        space().check_reach(0.125, 21.5)
    space().check_reach(0.01, 21.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": 4}, r"^space\.decoder=4: .* halved 3 times; use at most space\.decoder=3$"),
        ({"stems": (4,)}, r"^space\.stems=\[4\]: sizes of kernels are odd"),
    ],
)
def test_structures_that_cannot_be_built_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        space(**changes)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (("nor_conv_3x3",), "unknown operation nor_conv_3x3"),
        ((), "none given"),
        (("skip_connect", "skip_connect"), "contains duplicates"),
        ({"normal": S6}, "lists are given for normal, reduce, up"),
    ],
)
def test_operations_are_checked(operations, message):
    with pytest.raises(ConfigError, match=message):
        DisparitySpace("disparity", operations)


def test_partial_channels_edge_weights_and_auxiliary_heads_are_refused():
    one = space()
    with pytest.raises(ConfigError, match=r"~regularizer\.partial_channels"):
        one.variant(partial_channels=4)
    with pytest.raises(ConfigError, match=r"~regularizer\.edge_normalisation"):
        one.variant(edge_weights=True)
    assert one.variant(partial_channels=1).choices == one.choices
    with pytest.raises(ConfigError, match=r"evaluation\.auxiliary=0$"):
        one.network(random_genotype(one, 0), auxiliary=True)
