"""Encodings: every decision as a number, every way through a cell as a feature."""

import torch

from cases import build_space
from nas_lightning.core import draws
from nas_lightning.core.genotypes import Genotype
from nas_lightning.proposers.encodings import features, one_hot, ways
from nas_lightning.spaces import NasBench201Space
from table_space import by_index, digits

CONV, SKIP = "nor_conv_3x3", "skip_connect"


def test_one_hot_of_nasbench201_is_the_operation_of_each_edge():
    numbers = [0, 7, 15_000]
    found = one_hot(NasBench201Space(), [by_index().all[number] for number in numbers])
    expected = torch.nn.functional.one_hot(torch.tensor(digits()[numbers]), 5).flatten(1).float()
    assert torch.equal(found, expected)
    assert found.shape == (3, 30)


def test_one_hot_of_ragged_rows_leaves_out_what_a_row_does_not_have():
    space = build_space("s1")
    genotypes = [space.genotype_of(space.sample(draws.seeded_generator(i), none=False)) for i in range(3)]
    found = one_hot(space, genotypes)
    assert found.shape == (3, sum(len(row) for choice in space.choices.values() for row in choice.options))
    assert (found.sum(1) == 16).all()  # two cells of eight edges
    weighted = space.variant(edge_weights=True)
    assert torch.equal(one_hot(weighted, genotypes), found)


def test_features_are_the_ways_of_a_vocabulary():
    space = NasBench201Space()
    one = Genotype.from_arch_str(f"|{CONV}~0|+|none~0|{SKIP}~1|+|none~0|none~1|{CONV}~2|")
    two = Genotype.from_arch_str(f"|none~0|+|none~0|none~1|+|{SKIP}~0|none~1|none~2|")
    first, second = ways(space, one), ways(space, two)
    assert first == {("cell", "input 0", CONV, SKIP, CONV)}
    assert second == {("cell", "input 0", SKIP)}
    vocabulary = sorted(first | second)
    assert features([first, second, frozenset()], vocabulary).tolist() == [[1, 0], [0, 1], [0, 0]]
    assert features([second], sorted(first)).tolist() == [[0]]  # a way that was never fitted counts for nothing
