"""Drawn paths: uniform by chi-square, within the space, and the genotypes and networks that they make."""

from itertools import combinations, product

import pytest
import torch
from scipy.stats import chisquare

from cases import SPACES, TINY, build_space, images, seeded
from nas_lightning.core.errors import GenotypeError
from nas_lightning.spaces import CellSpace, Choice
from nas_lightning.spaces.sampling import sample_path, sample_rows

LEVEL = 1e-6  # about 200 tables: a right distribution fails with a chance of 2e-4, a wrong one by far
RAGGED = Choice(
    "cell", "op", (("none", "a", "b"), ("none",), ("b", "none"), ("a", "b", "c")), (0, 1, 2, 0), (3, 3, 3, 4), keep=2
)


def taken(choice, path):
    """{row: column} of a path, and that it is one: zeros and ones, at most one a row, none outside the mask."""
    assert path.shape == (choice.num_rows, choice.num_options)
    assert (path.dtype, path.device.type) == (torch.float32, "cpu")
    assert path.eq(0).logical_or(path.eq(1)).all()
    assert path[~choice.mask].eq(0).all()
    found = [(row, column) for row, column in torch.nonzero(path).tolist()]
    assert len({row for row, _ in found}) == len(found)
    return dict(found)


def assert_uniform(counts):
    assert sum(counts) >= 5 * len(counts)  # enough for the chi-square approximation
    assert chisquare(counts).pvalue > LEVEL, counts


@pytest.mark.parametrize("name", ["s1", "s3", "darts"])
def test_draws_are_uniform(name):
    space, rng, draws = build_space(name), seeded(0), 2500
    paths = [space.sample(rng) for _ in range(draws)]
    rows_of_node, chosen = {}, {}
    for cell, choice in space.choices.items():
        chosen[cell] = [taken(choice, path[cell]) for path in paths]
        for node in (2, 3, 4, 5):
            rows = [row for row, target in enumerate(choice.nodes) if target == node]
            rows_of_node[cell, node] = list(combinations(rows, 2))
            pairs = [tuple(sorted(set(path) & set(rows))) for path in chosen[cell]]
            assert set(pairs) <= set(rows_of_node[cell, node])  # two distinct incoming edges
            if node > 2:
                assert_uniform([pairs.count(pair) for pair in rows_of_node[cell, node]])
        for row, options in enumerate(choice.options):
            ops = [path[row] for path in chosen[cell] if row in path]
            assert_uniform([ops.count(column) for column in range(len(options))])
    # Jointly: the two operations of a node, and the edges of one cell with those of the other.
    for cell, choice in space.choices.items():
        both = [(path[0], path[1]) for path in chosen[cell]]
        assert_uniform([both.count(pair) for pair in product(*(range(len(choice.options[row])) for row in (0, 1)))])
    last = [tuple(tuple(sorted(row for row in chosen[c][i] if row > 8)) for c in chosen) for i in range(draws)]
    assert_uniform([last.count(pair) for pair in product(rows_of_node["normal", 5], rows_of_node["reduce", 5])])


def test_short_rows_and_none():
    rng = seeded(0)
    paths = [taken(RAGGED, sample_rows(RAGGED, rng)) for _ in range(1500)]
    assert all(len(path) == 3 and 3 in path for path in paths)  # two of three rows, and the only one of node 4
    for row, options in enumerate(RAGGED.options):
        columns = [path[row] for path in paths if row in path]
        if len(options) == 1:
            assert set(columns) == {0}
        else:
            assert_uniform([columns.count(column) for column in range(len(options))])
    without = [taken(RAGGED, sample_rows(RAGGED, rng, none=False)) for _ in range(600)]
    assert {tuple(sorted(path)) for path in without} == {(0, 2, 3)}  # row 1 offers nothing else
    assert {path[2] for path in without} == {0}
    columns = [path[0] for path in without]
    assert_uniform([columns.count(column) for column in (1, 2)])
    assert columns.count(0) == 0


@pytest.mark.parametrize(("keep", "expected"), [(None, {0, 1, 2, 3}), (9, {0, 1, 2, 3})])
def test_rows_that_a_node_keeps(keep, expected):
    choice = Choice("cell", "op", RAGGED.options, RAGGED.sources, RAGGED.nodes, keep)
    assert set(taken(choice, sample_rows(choice, seeded(0)))) == expected
    one = Choice("cell", "op", RAGGED.options, RAGGED.sources, RAGGED.nodes, 1)
    rng = seeded(0)
    firsts = [sorted(taken(one, sample_rows(one, rng)))[0] for _ in range(600)]
    assert_uniform([firsts.count(row) for row in (0, 1, 2)])


def test_choices_of_another_kind_get_equal_weights():
    edge = Choice("edge", "edge", (("a", "b"), ("a",)), (0, 1), (2, 2))
    wide = Choice("wide", "op", (("a", "b", "c", "d", "e"),), (0,), (2,))
    path = sample_path({"cell": RAGGED, "edge": edge, "wide": wide}, seeded(0))
    assert path["edge"].tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert len(taken(RAGGED, path["cell"])) == 3
    assert len(taken(wide, path["wide"])) == 1


def test_the_generator_decides():
    space = build_space("darts")

    def draw(rng):
        return torch.cat([value.flatten() for value in space.sample(rng).values()])

    rng = seeded(1)
    first, second = draw(rng), draw(rng)
    assert torch.equal(first, draw(seeded(1)))
    assert not torch.equal(first, second)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert torch.equal(draw(None), first)
        state = torch.get_rng_state()
        draw(seeded(2))
        assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------------------------------------- as genotypes
@pytest.mark.parametrize("none", [True, False])
@pytest.mark.parametrize("name", SPACES)
def test_genotypes_are_the_paths(name, none):
    space, rng = build_space(name), seeded(3)
    drawn_none = False
    for index in range(200):
        path = space.sample(rng, none)
        genotype = space.genotype_of(path)
        space.validate(genotype)
        assert genotype.space == name
        for cell, choice in space.choices.items():
            edges = [
                (choice.nodes[row], choice.options[row][column], choice.sources[row])
                for row, column in sorted(taken(choice, path[cell]).items())
            ]
            assert genotype.cells[cell] == tuple(edges)
            drawn_none |= any(op == "none" for _, op, _ in edges)
        if index < 2:
            network = space.network(genotype, **TINY).double()
            outputs = network(images())
            assert outputs.shape == (4, TINY["num_classes"])
            assert outputs.isfinite().all()
    assert drawn_none == (none and name in ("darts", "s3"))


def test_a_network_whose_nodes_get_nothing():
    """S3 may draw `none` on every edge; what is left of the cells is zeros."""
    space = build_space("s3")
    path = {name: torch.zeros(14, 3) for name in space.choices}
    for value in path.values():
        value[[0, 1, 2, 4, 5, 8, 9, 13], 0] = 1
    genotype = space.genotype_of(path)
    assert {op for edges in genotype.cells.values() for _, op, _ in edges} == {"none"}
    network = space.network(genotype, **TINY).double()
    for mode in (True, False):
        outputs = network.train(mode)(images())
        torch.testing.assert_close(outputs, network.classifier.bias.expand_as(outputs))
    path["normal"][0] = torch.tensor([0.0, 0.0, 1.0])  # one operation beside them: still nodes of zeros
    assert space.network(space.genotype_of(path), **TINY).double()(images()).isfinite().all()


WRONG = {
    "two options": (0, [1, 1, 0], r"edge from 0 to 2 of the normal cell takes options \[0, 1\]"),
    "an option that is not there": (0, [0, 0, 1], r"edge from 0 to 2 .*takes options \[2\]; one of 2"),
    "a node without an edge": (2, [0, 0, 0], r"no edge enters nodes \[3\] of the normal cell"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_path(case):
    row, weights, words = WRONG[case]
    pair, triple = ["none", "skip_connect"], ["none", "skip_connect", "sep_conv_3x3"]
    lists = [pair, triple, pair, pair, pair]
    space = CellSpace("mine", {"normal": lists, "reduce": lists}, num_nodes=2, keep=1)
    path = {name: torch.zeros(5, 3) for name in space.choices}
    for value in path.values():
        value[[0, 2], [0, 1]] = 1
    assert space.genotype_of(path).cells["reduce"] == ((2, "none", 0), (3, "skip_connect", 0))
    path["normal"][row] = torch.tensor(weights).float()
    with pytest.raises(GenotypeError, match=words) as caught:
        space.genotype_of(path)
    assert "\n" not in str(caught.value)
