"""Neighbours and mutations on every space: counted, and by brute force where all architectures can be listed."""

from collections import Counter

import pytest
import torch

from cases import block_space, build_space
from nas_lightning.core import draws
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.neighbours import drawn_move, moves
from nas_lightning.disparity.space import DisparitySpace
from nas_lightning.recurrent.space import RecurrentSpace
from nas_lightning.spaces import CellSpace, NasBench201Space
from nas_lightning.spaces.enumeration import architectures

SEP, SKIP, MAX = "sep_conv_3x3", "skip_connect", "max_pool_3x3"
RAGGED = {
    "normal": [[SEP], [SKIP], [SEP, SKIP], [MAX], [SKIP, MAX]],
    "reduce": [[SEP]] * 5,
}
SMALL = CellSpace("small", ["none", SEP, SKIP], num_nodes=2)
UNEVEN = CellSpace("uneven", RAGGED, num_nodes=2)


def drawn(space, seed=0):
    return space.genotype_of(space.sample(draws.seeded_generator(seed), none=False))


@pytest.mark.parametrize(
    ("space", "number"),
    [
        (NasBench201Space(), 24),
        (build_space("s5"), 4 * 2),
        # 2 cells of 8 edges with 6 other operations (darts without none), and 0 + 2 + 4 + 6 other sources
        (build_space("darts"), 2 * (8 * 6 + 12)),
        (build_space("darts_nonone"), 2 * (8 * 6 + 12)),
        # 8 nodes: 3 other activations, and 0 + 1 + … + 7 other sources
        (RecurrentSpace("recurrent", ["none", "tanh", "relu", "sigmoid", "identity"]), 8 * 3 + 28),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_numbers_of_neighbours(space, number):
    here = drawn(space)
    around = space.neighbours(here)
    assert len(around) == number
    assert len({one.identity for one in around} | {here.identity}) == number + 1
    for one in around:
        space.validate(one)


def test_neighbours_of_nasbench201_differ_in_one_operation():
    here = Genotype.from_arch_str("|none~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    for one in NasBench201Space().neighbours(here):
        pairs = list(zip(here.cells["cell"], one.cells["cell"], strict=True))
        assert [(a[0], a[2]) for a, _ in pairs] == [(b[0], b[2]) for _, b in pairs]
        assert sum(a != b for a, b in pairs) == 1


def decisions(genotype):
    """Edges as a set of (cell, node, source, operation)."""
    return {(name, n, s, op) for name, edges in genotype.cells.items() for n, op, s in edges}


@pytest.mark.parametrize("space", [SMALL, UNEVEN], ids=lambda space: space.name)
def test_every_pair_of_a_small_space_by_brute_force(space):
    """One edge differs; another source only with the same operation, or where one of them is not offered."""
    offered = {
        (name, node, source): [op for op in row if op != "none"]
        for name, choice in space.choices.items()
        for node, source, row in zip(choice.nodes, choice.sources, choice.options, strict=True)
    }
    everything = list(architectures(space))
    for here in everything[:: max(1, len(everything) // 15)]:
        expected = set()
        for other in everything:
            lost, won = decisions(here) - decisions(other), decisions(other) - decisions(here)
            if len(lost) != 1 or len(won) != 1:
                continue
            ((name, n, s, op),), ((_, m, t, new),) = lost, won
            if n != m:
                continue
            if s == t or op == new or op not in offered[name, n, t] or new not in offered[name, n, s]:
                expected.add(other.identity)
        found = [one.identity for one in space.neighbours(here)]
        assert len(set(found)) == len(found)
        assert set(found) == expected


@pytest.mark.parametrize(
    "space", [SMALL, UNEVEN, block_space("nasbench1shot1_1")], ids=lambda space: getattr(space, "name", "")
)
def test_neighbours_are_mutual_and_connect(space):
    start = drawn(space)
    for one in space.neighbours(start):
        assert start.identity in {back.identity for back in space.neighbours(one)}
    if space is UNEVEN:
        reached, waiting = {start.identity}, [start]
        while waiting:
            for one in space.neighbours(waiting.pop()):
                if one.identity not in reached:
                    reached.add(one.identity)
                    waiting.append(one)
        assert reached == {one.identity for one in architectures(space)}


def test_rows_that_take_several_options_swap_one():
    space = block_space("nasbench1shot1_1")  # parents 1, 2, 2, 2 and 2 of the output
    here = drawn(space)
    around = space.neighbours(here)
    # 4 blocks with 2 other operations; 2 · (3 − 2) + 2 · (4 − 2) parents of blocks 3 and 4, 2 · (5 − 2) of the output;
    # block 2 takes both earlier nodes
    assert len(around) == 4 * 2 + 2 * 1 + 2 * 2 + 2 * 3
    assert len({one.identity for one in around}) == len(around)


def test_the_first_node_of_a_decoder_keeps_its_sources():
    space = DisparitySpace("disparity", ["sep_conv_3x3", "skip_connect"])
    here = drawn(space)
    for one in space.neighbours(here):
        space.validate(one)  # refuses a first node that does not read all inputs
    sources = dict.fromkeys(space.choices, 0)
    for move in moves(space.choices, space.path_of(here))[1]:
        sources[move.choice] += 1
    # nodes of 2, 3 and 4 sources keep 2: 0 + 2 + 4; the decoder's of 4 (all), 5 and 6: 0 + 6 + 8
    assert sources == {"normal": 6, "reduce": 6, "up": 14}


def test_a_mutation_changes_an_operation_or_a_source_with_equal_chances():
    space = build_space("darts")
    path = space.path_of(drawn(space))
    operations, sources = moves(space.choices, path)
    counts = Counter(drawn_move(space.choices, path, draws.seeded_generator(seed)) for seed in range(400))
    assert set(counts) <= {*operations, *sources}
    assert sum(counts[move] for move in operations) == pytest.approx(200, abs=40)  # four deviations of 10


def test_a_mutation_is_a_neighbour_and_its_generator_decides():
    space = build_space("s1")
    here = drawn(space)
    around = {one.identity for one in space.neighbours(here)}
    for seed in range(20):
        one = space.mutate(here, draws.seeded_generator(seed))
        assert one.identity in around
        assert one == space.mutate(here, draws.seeded_generator(seed))


def test_what_cannot_change_stays():
    space = CellSpace("fixed", [SEP], num_nodes=1)
    here = drawn(space)
    assert space.neighbours(here) == []
    assert space.mutate(here) == here


def test_weights_of_edges_are_no_decisions():
    plain, weighted = build_space("s1"), build_space("s1").variant(edge_weights=True)
    here = drawn(plain)
    assert weighted.neighbours(here) == plain.neighbours(here)
    torch.testing.assert_close(weighted.path_of(here)["normal"], plain.path_of(here)["normal"])
