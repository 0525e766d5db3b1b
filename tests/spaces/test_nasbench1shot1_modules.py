"""Architectures of the spaces of NAS-Bench-1Shot1: their numbers, their genotypes, and a sample of the benchmark."""

import csv
import gzip

import pytest

from cases import BLOCK_SPACES, SAMPLE_101, block_space, seeded, space_config
from nas_lightning.core.modules import Module
from nas_lightning.spaces.nasbench1shot1_modules import BLOCKS, graphs, module_hashes

SIZES = {"nasbench1shot1_1": 2_685, "nasbench1shot1_2": 7_773, "nasbench1shot1_3": 55_854}


@pytest.mark.parametrize("name", BLOCK_SPACES)
def test_blocks_are_those_of_the_configuration(name):
    config = space_config(name)["space"]
    assert BLOCKS[name] == (tuple(config["parents"]), config["output"])


@pytest.mark.parametrize("name", BLOCK_SPACES[:2])
def test_genotypes_of_the_space_are_among_them(name):
    space, rng, hashes = block_space(name), seeded(0), module_hashes(name)
    drawn = {space.genotype_of(space.sample(rng)).architecture for _ in range(300)}
    assert len(drawn) > 100
    assert drawn <= hashes
    assert len(hashes) == SIZES[name]


def test_progress_is_over_the_graphs():
    shown = []
    name = BLOCK_SPACES[0]
    module_hashes(name, lambda items, title: shown.append((len(items), title)) or items)
    assert shown == [(len(graphs(*BLOCKS[name])), "architectures of nasbench1shot1_1")]


@pytest.mark.slow
def test_all_architectures():
    found = {name: module_hashes(name) for name in BLOCK_SPACES}
    assert {name: len(hashes) for name, hashes in found.items()} == SIZES
    first, second, third = found.values()
    assert len(first | second | third) == 66_111
    assert (len(first & third), len(first & second), len(second & third)) == (201, 0, 0)


@pytest.fixture(scope="module")
def sample():
    """Rows of the local sample."""
    if not SAMPLE_101.exists():
        pytest.skip("the sample of the benchmark is local only")
    with gzip.open(SAMPLE_101, "rt", newline="") as file:
        return list(csv.DictReader(file))


def test_stored_matrices_have_the_stored_hashes(sample):
    assert len(sample) == 4_774
    for row in sample:
        module = Module.from_matrix(row["matrix"].split("/"), row["operations"].split("|"))
        assert module.hash == row["module_hash"]


@pytest.mark.parametrize(
    ("name", "size"),
    [(BLOCK_SPACES[0], 195), (BLOCK_SPACES[1], 572), pytest.param(BLOCK_SPACES[2], 4_023, marks=pytest.mark.slow)],
)
def test_as_many_of_the_sample_as_it_says(sample, name, size):
    inside = {row["module_hash"] for row in sample} & module_hashes(name)
    assert len(inside) == size
    assert inside == {row["module_hash"] for row in sample if name[-1] in row["spaces"]}
