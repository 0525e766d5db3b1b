"""Graphs of cells: those of arch2vec by hand, ways through them, what `none` leaves out."""

from cases import block_space, build_space
from nas_lightning.core import draws
from nas_lightning.core.cell_graphs import CellGraph
from nas_lightning.core.genotypes import Genotype
from nas_lightning.spaces import NasBench201Space

CONV, POOL, SKIP = "nor_conv_3x3", "avg_pool_3x3", "skip_connect"
FULL = f"|{CONV}~0|+|{POOL}~0|{SKIP}~1|+|{SKIP}~0|{CONV}~1|{POOL}~2|"


def graph(text):
    (found,) = NasBench201Space().graphs(Genotype.from_arch_str(text)).values()
    return found


def test_a_cell_of_nasbench201():
    """Input, six operations in the order of the string, output: the matrix of the released code."""
    found = graph(FULL)
    assert found.labels == ("input 0", CONV, POOL, SKIP, SKIP, CONV, POOL, "output")
    rows = ["01101000", "00010100", "00000010", "00000010", "00000001", "00000001", "00000001", "00000000"]
    assert set(found.links) == {(i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell == "1"}
    assert len(found.links) == 10
    assert found.paths == {
        ("input 0", CONV, SKIP, POOL),
        ("input 0", CONV, CONV),
        ("input 0", POOL, POOL),
        ("input 0", SKIP),
    }


def test_none_has_no_links():
    found = graph(FULL.replace(f"{SKIP}~1", "none~1"))
    assert found.labels[3] == "none"
    assert not any(3 in link for link in found.links)
    assert ("input 0", CONV, SKIP, POOL) not in found.paths
    assert len(found.paths) == 3
    nothing = graph("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert nothing.links == ()
    assert nothing.paths == frozenset()


def test_a_cell_of_darts():
    edges = ((2, "a", 0), (2, "b", 1), (3, "c", 0), (3, "d", 2))
    found = CellGraph.of_cell(edges, (2, 3), 2)
    assert found.labels == ("input 0", "input 1", "a", "b", "c", "d", "output")
    assert sorted(found.links) == [(0, 2), (0, 4), (1, 3), (2, 5), (2, 6), (3, 5), (3, 6), (4, 6), (5, 6)]


def test_labels_of_spaces():
    assert len(NasBench201Space().graph_labels()) == 7
    assert len(build_space("darts").graph_labels()) == 11
    for space in (build_space("s1"), block_space("nasbench1shot1_3"), NasBench201Space()):
        here = space.genotype_of(space.sample(draws.seeded_generator(0), none=False))
        for one in space.graphs(here).values():
            assert set(one.labels) <= set(space.graph_labels())


def test_modules_of_one_architecture_have_one_graph_without_what_is_pruned():
    space = block_space("nasbench1shot1_1")
    ops = ["conv3x3-bn-relu"] * 4
    choices = {"ops": ops, "inputs": {"3": [0, 1], "4": [1, 2]}, "output": [0, 1]}
    (found,) = space.graphs(Genotype(space.name, choices=choices)).values()
    assert found.labels == ("input 0", "conv3x3-bn-relu", "output")  # blocks 2 to 4 do not reach the output
    assert set(found.links) == {(0, 1), (0, 2), (1, 2)}
