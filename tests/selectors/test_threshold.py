"""Selection by a threshold: the parser of the released code, absent nodes, and networks of what is left."""

import pytest
import torch

import nas_lightning as nl
from cases import TINY, build_space, images, seeded
from nas_lightning.core.arch_strings import CELL
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.functional import count_parameters
from nas_lightning.selectors import Threshold
from nas_lightning.spaces import CellSpace, Genotype, NasBench201Space
from nas_lightning.spaces.published import PUBLISHED

OPS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")


def parsed(gates, threshold, every, options):
    """The released parser on a table [14, 7], then without what its network does not compute."""
    found, start = [], 0
    for step in range(4):
        inputs = 2 + step
        rows = gates[start : start + inputs]
        edges = list(range(inputs)) if every else sorted(range(inputs), key=lambda j: -max(rows[j]))[:2]
        for j in edges:
            best = sorted(enumerate(rows[j]), key=lambda pair: -pair[1])[:options]
            found += [(inputs, OPS[k], j) for k, value in best if value >= threshold]
        start += inputs
    present, kept = {0, 1}, []
    for node, op, source in found:
        if source in present:
            kept.append((node, op, source))
            present.add(node)
    return tuple(kept)


@pytest.mark.parametrize(("every", "options"), [(False, 1), (True, 2)])
@pytest.mark.parametrize("threshold", [0.3, 0.85, 0.95])
def test_against_the_released_parser(every, options, threshold):
    space, gaps = CellSpace("o7", OPS), 0
    for seed in range(20):
        tables = {n: torch.rand(14, 7, generator=seeded(seed), dtype=torch.float64) for n in ("normal", "reduce")}
        found = Threshold(threshold, options, every)(space, tables)
        expected = {name: parsed(table.tolist(), threshold, every, options) for name, table in tables.items()}
        if not all(expected.values()):
            assert found is None
            continue
        assert found.cells == expected
        space.validate(found)
        assert Genotype.from_dict(found.to_dict()) == found
        gaps += any(len(nodes) < 4 for nodes in found.concat.values())
    assert threshold < 0.9 or gaps > 0


def test_edges_of_absent_nodes_go_with_them():
    """Node 3 has no gate above the threshold: the edge from it to node 5, though open, leads from nothing."""
    table = torch.full((14, 7), 0.1)
    table[0, 3] = table[5, 3] = table[9 + 3, 4] = table[9, 2] = 0.9  # 2←0, 4←0, 5←3, 5←0
    found = Threshold()(CellSpace("o7", OPS), {"normal": table, "reduce": table})
    assert found.cells["normal"] == ((2, "sep_conv_3x3", 0), (4, "sep_conv_3x3", 0), (5, "skip_connect", 0))
    assert found.concat["normal"] == (2, 4, 5)


def test_a_network_of_absent_nodes_concatenates_the_others():
    """By hand: two separable convolutions of different sources, one of them twice on one edge."""
    cells = ((2, "sep_conv_3x3", 0), (4, "sep_conv_3x3", 2), (4, "dil_conv_3x3", 2))
    genotype = Genotype("darts", {"normal": cells, "reduce": cells}, {"normal": (2, 4), "reduce": (2, 4)})
    network = build_space("darts").network(genotype, **TINY).double()
    cell = network.cells[0]
    x = images(channels=12)  # the stem's
    s0, _ = cell.preprocess(x, x)
    first, second, third = cell.operations
    node = first(s0)
    torch.testing.assert_close(cell(x, x), torch.cat([node, second(node) + third(node)], dim=1))
    assert network(images()).shape == (4, 3)


def test_published_ones_are_read_as_the_code_prints_them():
    """Its text names all nodes as outputs, and in c an edge from the node that does not exist."""
    text = (
        "Genotype(normal=[('max_pool_3x3', 2, 0), ('sep_conv_5x5', 2, 1), ('dil_conv_3x3', 4, 0),"
        " ('dil_conv_5x5', 4, 2), ('skip_connect', 5, 3), ('sep_conv_3x3', 5, 0)], normal_concat=range(2, 6),"
        " reduce=[('dil_conv_3x3', 2, 1), ('dil_conv_5x5', 2, 0), ('dil_conv_3x3', 3, 0), ('sep_conv_3x3', 3, 1),"
        " ('sep_conv_5x5', 4, 0), ('sep_conv_5x5', 4, 3), ('sep_conv_5x5', 5, 0), ('skip_connect', 5, 1)],"
        " reduce_concat=range(2, 6))"
    )
    assert Genotype.from_text(text) == PUBLISHED["fair_darts_c"]
    auxiliary = build_space("darts").network(PUBLISHED["fair_darts_a"], auxiliary=True)
    assert count_parameters(auxiliary, auxiliary=True) == 2_360_782 + 476_426


def test_architectures_with_other_absent_nodes_are_told_apart():
    def of(first, second):
        cells = ((first, "skip_connect", 0), (second, "skip_connect", 0), (5, "sep_conv_3x3", 3))
        return Genotype("darts", {"normal": cells}, {"normal": (first, second, 5)}).architecture

    assert of(2, 3) != of(3, 4)


def test_nasbench201_has_none_below_the_threshold():
    table = torch.full((6, 5), 0.1)
    table[0, 1] = table[3, 0] = 0.9
    table[5, 3] = 0.86
    found = Threshold()(NasBench201Space("nasbench201"), {CELL: table})
    assert found.arch_str == "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"
    assert Threshold()(NasBench201Space("nasbench201"), {CELL: torch.full((6, 5), 0.1)}) is None


@pytest.mark.parametrize("space", ["s5", "nasbench201"])
def test_a_search_without_a_strong_operation_says_so(space, tiny, tmp_path):
    words = [*tiny, "method=fair_darts", f"space={space}", "search.layers=3"]
    with pytest.raises(
        ConfigError, match=r"^selector\.threshold=0\.85: no operation of the .* 0\.5.*task=select"
    ) as told:
        nl.search(nl.compose(words), run_dir=tmp_path / "run")
    assert "\n" not in str(told.value)
    again = nl.compose(
        ["task=select", f"run={tmp_path / 'run'}", "selector=threshold", "selector.threshold=0.4", "trainer=cpu"]
    )
    assert again.selector.threshold == 0.4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["space=nasbench1shot1_2"], "^selector: space=nasbench1shot1_2: each of its rows takes an option"),
        (
            ["space=nasbench201", "selector.options=2"],
            "^selector: an edge of .* has one operation, not 2; use",
        ),
        (["perturbation=random"], "projects mixing weights onto the simplex"),
    ],
)
def test_what_cannot_be_selected_is_refused_first(words, told, tiny, tmp_path):
    with pytest.raises(ConfigError, match=told):
        nl.search(nl.compose([*tiny, "method=fair_darts", *words]), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_whole_pipeline_with_sparse_cells(tiny, tmp_path):
    """Searched, drawn, retrained and exported by its genotype file."""
    words = [*tiny, "method=fair_darts", "space=s3", "search.arch.lr=0.02", "selector.threshold=0.502"]
    nl.search(nl.compose(words), run_dir=tmp_path / "run")
    found = nl.genotype(str(tmp_path / "run"))
    assert any(len(edges) < 8 for edges in found.cells.values())
    assert set(found.cells) == {path.stem.removeprefix("cell_") for path in (tmp_path / "run/plots").glob("cell_*.svg")}
    result = nl.evaluate(nl.compose(words), run_dir=tmp_path / "judged", genotype=str(tmp_path / "run"))
    assert result.test_accuracy > 0


def test_a_missing_node_that_is_used_is_refused():
    cells = {"normal": ((3, "skip_connect", 0), (4, "skip_connect", 2)), "reduce": ((2, "skip_connect", 0),)}
    genotype = Genotype("darts", cells, {"normal": (3, 4), "reduce": (2,)})
    with pytest.raises(GenotypeError, match=r"normal cell feeds nodes \[3, 4\]; every node of .* uses it"):
        build_space("darts").validate(genotype)
