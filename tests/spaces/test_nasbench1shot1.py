"""The spaces of NAS-Bench-1Shot1: choices, genotypes, counts, and what they refuse."""

from collections import Counter
from itertools import combinations, product

import pytest
import torch

from cases import BLOCK_SPACES, CONF, block_space, seeded
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.modules import CONV_3, MAX_POOL, OPERATIONS, Module
from nas_lightning.spaces import Genotype, NasBench1Shot1Space
from nas_lightning.spaces.enumeration import architecture, architectures, number_of, random_genotype

SIZES = {  # parameters α, rows, raw genotypes
    "nasbench1shot1_1": (24, 7, 14_580),
    "nasbench1shot1_2": (26, 8, 29_160),
    "nasbench1shot1_3": (35, 10, 1_312_200),
}
ARCHITECTURES = {
    "nasbench1shot1_1": (66, 3_702, 2_685, 606),
    "nasbench1shot1_2": (190, 12_474, 7_773, 3_498),
    "nasbench1shot1_3": (876, 135_900, 55_854, 8_139),
}
"""Pruned graphs of numbered blocks without and with operations, architectures of the benchmark (up to isomorphism), and
those of them with an edge from input to output."""


@pytest.mark.parametrize("name", BLOCK_SPACES)
def test_choices_of_the_released_code(name):
    space = block_space(name)
    alphas, rows, genotypes = SIZES[name]
    assert list(space.choices) == ["ops", "output", "inputs"]  # the order of the released parameters
    assert sum(int(choice.mask.sum()) for choice in space.choices.values()) == alphas
    assert sum(choice.num_rows for choice in space.choices.values()) == rows
    assert space.count() == genotypes
    assert space.choices["output"].options[0] == ("input", *(f"block{n}" for n in range(1, len(space.parents) + 1)))


@pytest.mark.parametrize(
    ("name", "choosing", "take", "output"),
    [
        ("nasbench1shot1_1", (3, 4), (2, 2), 2),
        ("nasbench1shot1_2", (2, 3, 4), (1, 2, 2), 3),
        ("nasbench1shot1_3", (2, 3, 4, 5), (1, 1, 2, 2), 2),
    ],
)
def test_blocks_with_as_many_parents_as_there_are_have_no_row(name, choosing, take, output):
    inputs = block_space(name).choices["inputs"]
    assert (inputs.nodes, inputs.taken) == (choosing, take)
    assert [len(row) for row in inputs.options] == list(choosing)
    assert block_space(name).choices["output"].taken == (output,)


def pruned(parents):
    """The edges of numbered blocks that lead to the output, and these blocks."""
    last = len(parents) - 1
    needed = {last}
    for node in range(last, 0, -1):
        if node in needed:
            needed.update(parents[node])
    return frozenset((parent, node) for node in needed for parent in parents[node]), sorted(needed - {0, last})


@pytest.mark.parametrize(
    "name",
    [
        "nasbench1shot1_1",
        pytest.param("nasbench1shot1_2", marks=pytest.mark.slow),
        pytest.param("nasbench1shot1_3", marks=pytest.mark.slow),
    ],
)
def test_architectures_of_the_benchmark(name):
    """All sets of parents, and all operations of the blocks that are left."""
    space = block_space(name)
    blocks = len(space.parents)
    ways = [combinations(range(node), k) for node, k in enumerate((*space.parents, space.output), start=1)]
    graphs = dict(pruned(((), *parents)) for parents in product(*ways))
    hashes, labelled = {}, 0
    for edges, kept in graphs.items():
        parents = tuple(tuple(sorted(p for p, n in edges if n == node)) for node in range(blocks + 2))
        for operations in product(OPERATIONS, repeat=len(kept)):
            every = dict.fromkeys(range(1, blocks + 1), MAX_POOL) | dict(zip(kept, operations, strict=True))
            hashes[Module(parents, tuple(every.values())).hash] = (0, blocks + 1) in edges
            labelled += 1
    assert (len(graphs), labelled, len(hashes), sum(hashes.values())) == ARCHITECTURES[name]
    if name == "nasbench1shot1_1":
        assert {genotype.architecture for genotype in architectures(space)} == set(hashes)


def test_genotypes_that_prune_to_one_graph_are_one_architecture():
    space = block_space("nasbench1shot1_1")
    choices = {"ops": [CONV_3] * 4, "inputs": {"3": [0, 1], "4": [0, 1]}, "output": [0, 1]}
    first = Genotype(space.name, choices=choices)
    second = Genotype(space.name, choices={**choices, "ops": [CONV_3, MAX_POOL, MAX_POOL, MAX_POOL]})
    assert first.to_dict()["operations"] == second.to_dict()["operations"] == [CONV_3]
    assert first.architecture == second.architecture == first.to_dict()["module_hash"]


@pytest.mark.parametrize("name", BLOCK_SPACES)
def test_the_strongest_options_are_taken_and_the_lower_of_equals(name):
    space = block_space(name)
    for seed in range(20):
        scores = {n: torch.rand(c.num_rows, c.num_options, generator=seeded(seed)) for n, c in space.choices.items()}
        found = space.genotype(scores).choices
        assert found["ops"] == [OPERATIONS[i] for i in scores["ops"].argmax(1)]
        rows = [(scores["output"][0], space.output, found["output"])]
        inputs = space.choices["inputs"]
        for row, number in enumerate(inputs.nodes):
            rows.append((scores["inputs"][row, :number], inputs.taken[row], found["inputs"][str(number)]))
        for strengths, k, taken in rows:
            assert len(taken) == k
            assert min(strengths[taken]) >= max([strengths[o] for o in range(len(strengths)) if o not in taken])
    equal = space.genotype({n: torch.zeros(c.num_rows, c.num_options) for n, c in space.choices.items()}).choices
    assert equal["output"] == list(range(space.output))
    assert set(equal["ops"]) == {MAX_POOL}


@pytest.mark.parametrize("name", BLOCK_SPACES)
def test_drawing_is_uniform_and_there_and_back(name):
    space, rng, counts = block_space(name), seeded(1), Counter()
    draws = 400
    for _ in range(draws):
        path = space.sample(rng)
        genotype = space.genotype_of(path)
        space.validate(genotype)
        again = space.path_of(genotype)
        assert all(torch.equal(path[choice], again[choice]) for choice in path)
        assert space.genotype(path) == genotype
        counts.update(genotype.choices["output"])
    share = space.output / space.choices["output"].num_options
    for option in range(space.choices["output"].num_options):
        assert abs(counts[option] - draws * share) < 5 * (draws * share * (1 - share)) ** 0.5


def test_every_architecture_has_a_number():
    space = block_space("nasbench1shot1_1")
    for number in (0, 1, 7_777, space.count() - 1):
        assert number_of(space, architecture(space, number)) == number
    # An odometer: operations, output, inputs of the blocks 3 and 4; the last turns fastest.
    first = architecture(space, 0).choices
    assert first == {"ops": [MAX_POOL] * 4, "output": [0, 1], "inputs": {"3": [0, 1], "4": [0, 1]}}
    assert architecture(space, 1).choices["inputs"] == {"3": [0, 1], "4": [0, 2]}
    assert [random_genotype(space, s) == random_genotype(space, s) for s in range(3)] == [True] * 3


def test_a_genotype_survives_its_file(tmp_path):
    genotype = random_genotype(block_space("nasbench1shot1_3"), 0)
    genotype.save(tmp_path / "genotype.json")
    assert Genotype.load(tmp_path / "genotype.json") == genotype
    other = {**genotype.to_dict(), "module_hash": "0" * 32}
    with pytest.raises(GenotypeError, match=r"module_hash=0+ is another module"):
        Genotype.from_dict(other)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"ops": [MAX_POOL] * 3, "inputs": {"3": [0, 1]}, "output": [0, 1]}, "parents; allowed: 1, 2, 2, 2 and 2"),
        (
            {"ops": [MAX_POOL] * 4, "inputs": {"3": [0], "4": [0, 1]}, "output": [0, 1]},
            "have 1, 2, 1, 2, 2 parents",
        ),
        ({"ops": [MAX_POOL] * 4, "inputs": {"3": [0, 3], "4": [0, 1]}, "output": [0, 1]}, r"block3 are \[0, 3\]"),
        ({"layers": []}, "needs the choices ops, inputs and output"),
    ],
)
def test_genotypes_of_other_spaces_are_refused(choices, message):
    with pytest.raises(GenotypeError, match=message):
        block_space("nasbench1shot1_1").validate(Genotype("other", choices=choices))


@pytest.mark.parametrize(
    ("choice", "taken"), [("output", (0,)), ("output", (0, 1, 2)), ("inputs", ())], ids=["one", "three", "none"]
)
def test_paths_take_as_many_options_as_the_space(choice, taken):
    space = block_space("nasbench1shot1_1")
    path = space.sample(seeded(0))
    path[choice][0] = 0
    path[choice][0, list(taken)] = 1
    with pytest.raises(GenotypeError, match=f"row 0 of {choice} takes options .*; 2 of"):
        space.genotype_of(path)


def test_mistakes_in_the_space():
    with pytest.raises(ConfigError, match=r"space\.parents: block 1 takes 2 parents of 1"):
        NasBench1Shot1Space("mine", [2], 1)
    with pytest.raises(ConfigError, match=r"space\.output takes 4 parents of 3"):
        NasBench1Shot1Space("mine", [1, 1], 4)
    space = block_space("nasbench1shot1_2")
    with pytest.raises(ConfigError, match="inputs of blocks have weights already"):
        space.variant(edge_weights=True)
    with pytest.raises(ConfigError, match=r"data\.image_size=3"):
        space.check_image_size(3, 1, "cifar")
    with pytest.raises(ConfigError, match=r"search\.stem=cifar"):
        space.check_image_size(32, 1, "imagenet")


def test_every_space_of_the_family_has_a_file():
    assert sorted(path.stem for path in (CONF / "space").glob("nasbench1shot1_*.yaml")) == list(BLOCK_SPACES)
