"""Modules of NAS-Bench-101: names of the benchmark itself, and names that do not depend on the order of nodes."""

import random
from itertools import permutations

import networkx
import pytest

from nas_lightning.core.errors import GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.modules import CONV_1, CONV_3, MAX_POOL, OPERATIONS, Module, of_choices

SHORT = {"c3": CONV_3, "c1": CONV_1, "mp": MAX_POOL}
ANCHORS = [
    ("0100110 0010000 0001001 0000010 0000010 0000001 0000000", "c3 mp c3 c3 c1", "00005c142e6f48ac74fdcf73e3439874"),
    ("011101 001100 000010 000010 000001 000000", "mp c3 c3 c3", "1a8a191c341f7ed51203423e9c57819c"),
    ("011101 000101 000010 000010 000001 000000", "c3 c1 c3 c3", "024db8e9280a85c382ed1439d645b000"),
    ("0110011 0001000 0000100 0000100 0000010 0000001 0000000", "c3 mp c3 mp c3", "00b2896193a65a545626759ce9c63f0e"),
]
"""Matrix, operations and key of the benchmark's files (the first is the first key of all)."""


def read(matrix, operations):
    return Module.from_matrix(matrix.split(), [SHORT[op] for op in operations.split()])


def drawn(rng):
    """A random module with a path from input to output."""
    size = rng.randint(2, 7)
    while True:
        rows = [[int(j > i and rng.random() < 0.5) for j in range(size)] for i in range(size)]
        module = Module.from_matrix(rows, [rng.choice(OPERATIONS) for _ in range(size - 2)])
        try:
            module.pruned  # noqa: B018 - raises where there is no path
        except GenotypeError:
            continue
        return module


def renumbered(module, order):
    """The same graph with its nodes in another order."""
    place = {node: index for index, node in enumerate(order)}
    parents = [()] * len(order)
    for node, feeding in enumerate(module.parents):
        parents[place[node]] = tuple(sorted(place[p] for p in feeding))
    return Module(tuple(parents), tuple(module.operations[node - 1] for node in order[1:-1]))


def graph(module):
    """For networkx, the pruned module with labelled nodes."""
    found, pruned = networkx.DiGraph(), module.pruned
    for node, label in enumerate(["in", *pruned.operations, "out"]):
        found.add_node(node, label=label)
    found.add_edges_from((p, node) for node, feeding in enumerate(pruned.parents) for p in feeding)
    return found


@pytest.mark.parametrize(("matrix", "operations", "name"), ANCHORS)
def test_the_names_of_the_benchmark(matrix, operations, name):
    module = read(matrix, operations)
    assert module.hash == name
    assert module.matrix == matrix.split()


def test_the_order_of_the_nodes_does_not_matter():
    rng = random.Random(0)
    checked = 0
    for _ in range(200):
        module = drawn(rng)
        inner = range(1, len(module.parents) - 1)
        for order in permutations(inner):
            whole = (0, *order, len(module.parents) - 1)
            other = renumbered(module, whole)
            if all(p < node for node, feeding in enumerate(other.parents) for p in feeding):
                assert other.hash == module.hash
                checked += 1
    assert checked > 400


def test_equal_names_mean_isomorphic_graphs_and_no_others():
    rng = random.Random(1)
    modules = [drawn(rng) for _ in range(120)]
    equal = 0
    for index, one in enumerate(modules):
        for other in modules[:index]:
            same = networkx.is_isomorphic(graph(one), graph(other), node_match=lambda a, b: a["label"] == b["label"])
            assert (one.hash == other.hash) == same
            equal += same
    assert equal > 20


def test_nodes_off_every_path_are_pruned():
    # Node 1 leads nowhere, node 2 comes from nowhere, node 3 is on the path.
    module = Module(((), (0,), (), (0, 2), (3,)), (CONV_3, MAX_POOL, CONV_1))
    assert module.pruned == Module(((), (0,), (1,)), (CONV_1,))
    assert module.hash == Module(((), (0,), (1,)), (CONV_1,)).hash
    assert Module.from_matrix(["01", "00"], []).pruned.parents == ((), (0,))
    with pytest.raises(GenotypeError, match="no path"):
        Module(((), (0,), ()), (CONV_3,)).pruned  # noqa: B018


def test_a_genotype_in_choices():
    module = of_choices({"ops": [MAX_POOL, CONV_3, CONV_1], "inputs": {"3": [2, 0]}, "output": [1, 3]})
    assert module == Module(((), (0,), (0, 1), (0, 2), (1, 3)), (MAX_POOL, CONV_3, CONV_1))
    assert of_choices({"layers": ["a"]}) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"output": []}, r"output are \[\]"),
        ({"output": [1, 1]}, r"output are \[1, 1\]"),
        ({"inputs": {"2": [2]}}, r"block2 are \[2\].*0 \(the input\) to 1"),
        ({"inputs": {"2": ["1"]}}, r"block2 are \['1'\]"),
        ({"ops": ["conv5x5", CONV_3]}, "conv5x5"),
        ({"ops": 3}, f"ops=3; allowed: a list of {MAX_POOL}"),
        ({"ops": CONV_1}, f"ops={CONV_1}; allowed: a list of {MAX_POOL}"),
        ({"ops": [[CONV_1], CONV_3]}, rf"ops=\[\['{CONV_1}'\], '{CONV_3}'\]; allowed: a list of {MAX_POOL}"),
        ({"ops": [None, CONV_3]}, r"ops=\[None, .*; allowed: a list of"),
        ({"output": 2}, r"output are 2; allowed: a list of different earlier nodes, 0 \(the input\) to 2"),
        ({"output": None}, "output are None; allowed: a list"),
        ({"output": {"1": 2}}, "output are {'1': 2}; allowed: a list"),
        ({"output": [[1], 2]}, r"output are \[\[1\], 2\]; allowed: a list"),
        ({"output": [True, 2]}, r"output are \[True, 2\]; allowed: a list"),
        ({"inputs": {"2": 1}}, "block2 are 1; allowed: a list"),
        ({"inputs": {"2": "01"}}, "block2 are 01; allowed: a list"),
        ({"inputs": [[0, 1]]}, r"inputs=\[\[0, 1\]\]; allowed: for numbers of blocks, 1 to 2, the list of its parents"),
        ({"inputs": None}, "inputs=None; allowed: for numbers"),
        ({"inputs": {"3": [0]}}, r"inputs={'3': \[0\]}; allowed: for numbers of blocks, 1 to 2"),
        ({"inputs": {"x": [0]}}, r"inputs={'x': \[0\]}; allowed: for numbers"),
    ],
)
def test_choices_that_are_no_module_are_refused(changed, message):
    with pytest.raises(GenotypeError, match=message) as caught:
        of_choices({"ops": [CONV_1, CONV_3], "inputs": {}, "output": [1, 2], **changed})
    assert "\n" not in str(caught.value)


def test_no_file_of_such_a_genotype_is_read(tmp_path):
    (tmp_path / "genotype.json").write_text(
        '{"space": "nasbench1shot1_1", "choices": {"ops": 3, "inputs": {}, "output": 2}}'
    )
    with pytest.raises(GenotypeError, match=r"^genotype: ops=3; allowed: a list of"):
        Genotype.load(tmp_path / "genotype.json")


@pytest.mark.parametrize(
    ("rows", "operations"),
    [(["011", "001"], [CONV_3]), (["011", "101", "000"], [CONV_3]), (["011", "001", "000"], ["conv5x5"])],
)
def test_matrices_that_are_no_module_are_refused(rows, operations):
    with pytest.raises(GenotypeError, match="module: "):
        Module.from_matrix(rows, operations)
