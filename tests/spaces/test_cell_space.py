"""Cell spaces: the published tables, golden sizes, the genotype rule against a brute force, validation."""

from collections import Counter
from itertools import combinations, permutations, product

import pytest
import torch

from cases import SPACES, TINY, build_space, images, random_genotype, random_mixing, space_config
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.functional import count_parameters
from nas_lightning.spaces import CellSpace, Genotype, genotype

LONG = {"skip": "skip_connect", "max": "max_pool_3x3", "avg": "avg_pool_3x3", "sep3": "sep_conv_3x3"}
LONG |= {"dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5"}
# Specification 3.1, line by line: predecessor, node, normal pair, reduce pair.
S1 = """
0 2 skip dil3 max avg
1 2 skip dil5 max dil3
0 3 skip dil5 max avg
1 3 skip sep3 max avg
2 3 skip dil3 skip dil5
0 4 max skip max avg
1 4 skip sep3 max sep3
2 4 skip sep3 skip dil3
3 4 skip dil3 skip dil5
0 5 skip sep3 max avg
1 5 max skip max avg
2 5 skip dil3 skip dil5
3 5 dil3 dil5 skip dil5
4 5 dil3 dil5 skip dil5
"""
OPERATIONS = {
    "darts": "none max_pool_3x3 avg_pool_3x3 skip_connect sep_conv_3x3 sep_conv_5x5 dil_conv_3x3 dil_conv_5x5",
    "darts_nonone": "max_pool_3x3 avg_pool_3x3 skip_connect sep_conv_3x3 sep_conv_5x5 dil_conv_3x3 dil_conv_5x5",
    "s2": "skip_connect sep_conv_3x3",
    "s3": "none skip_connect sep_conv_3x3",
    "s4": "noise sep_conv_3x3",
    "s5": "sep_conv_3x3 skip_connect max_pool_3x3",
}


def test_s1_is_the_published_table():
    space = build_space("s1")
    for row, line in enumerate(S1.split("\n")[1:-1]):
        source, node, *pairs = line.split()
        for cell, pair in zip(("normal", "reduce"), (pairs[:2], pairs[2:]), strict=True):
            choice = space.choices[cell]
            assert (choice.sources[row], choice.nodes[row]) == (int(source), int(node))
            assert choice.options[row] == tuple(LONG[op] for op in pair)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_of_the_other_spaces(name):
    space = build_space(name)
    assert space.name == name
    for choice in space.choices.values():
        assert set(choice.options) == {tuple(OPERATIONS[name].split())}
    assert space.concat == dict.fromkeys(("normal", "reduce"), (2,) if name == "s5" else (2, 3, 4, 5))


# ----------------------------------------------------------------------------------- golden parameter counts
SUPERNETS = {"darts": 1_930_618, "darts_nonone": 1_930_618, "s1": 405_146, "s2": 665_466, "s3": 665_466}
SUPERNETS |= {"s4": 624_506, "s5": 112_890}


@pytest.mark.parametrize("name", SPACES)
def test_supernet_parameters(name):
    with torch.device("meta"):
        space = build_space(name)
        assert count_parameters(space.supernet()) == SUPERNETS[name]  # defaults: 10 classes, C=16, L=8
        if name in ("s1", "s4"):
            assert count_parameters(space.supernet(num_classes=100)) == SUPERNETS[name] + 23_130


def all_separable():
    edges = tuple((node, "sep_conv_3x3", source) for node in range(2, 6) for source in (0, 1))
    return Genotype("s4", {"normal": edges, "reduce": edges}, dict.fromkeys(("normal", "reduce"), (2, 3, 4, 5)))


@pytest.mark.parametrize(
    ("space", "architecture", "sizes", "params", "auxiliary"),
    [
        ("darts", genotype("darts_v2"), {}, 3_349_342, 476_426),  # defaults: C=36, L=20
        ("darts", genotype("darts_v2"), {"init_channels": 16}, 710_682, 435_466),
        ("s4", all_separable(), {}, 4_701_718, 476_426),
        ("s4", all_separable(), {"init_channels": 16, "layers": 20}, 1_007_738, 435_466),
        (
            "darts",
            genotype("darts_v2"),
            {"init_channels": 48, "layers": 14, "stem": "imagenet", "num_classes": 1000},
            4_718_752,
            None,
        ),
    ],
)
def test_network_parameters(space, architecture, sizes, params, auxiliary):
    with torch.device("meta"):
        network = build_space(space).network(architecture, **sizes, auxiliary=True)
        assert count_parameters(network) == params
        assert count_parameters(build_space(space).network(architecture, **sizes)) == params
    if auxiliary is not None:
        assert count_parameters(network, auxiliary=True) == params + auxiliary


# -------------------------------------------------------------------------------------------- number of cells
@pytest.mark.parametrize(
    ("name", "operations"), [("darts", 7), ("darts_nonone", 7), ("s1", 2), ("s2", 2), ("s3", 2), ("s4", 2)]
)
def test_number_of_genotypes(name, operations):
    # Subsets of two among 2, 3, 4 and 5 edges: 1·3·6·10; the DARTS paper gives the same product.
    assert build_space(name).count() == (180 * operations**8) ** 2


def test_s5_has_81_architectures():
    space = build_space("s5")
    assert space.count() == 81
    found = set()
    for picks in product(range(3), repeat=4):
        scores = {
            "normal": torch.eye(3)[list(picks[:2])] + torch.rand(2, 1),
            "reduce": torch.eye(3)[list(picks[2:])] + torch.rand(2, 1),
        }
        derived = space.genotype(scores)
        space.validate(derived)
        found.add(tuple(frozenset(derived.cells[cell]) for cell in ("normal", "reduce")))
    assert len(found) == 81


@pytest.mark.parametrize("keep", [1, 2, 3, 4])
def test_count_against_enumeration(keep):
    space = CellSpace("small", ["none", "skip_connect", "sep_conv_3x3"], num_nodes=2, keep=keep)
    cells = set()
    for sources in product(combinations(range(2), min(keep, 2)), combinations(range(3), min(keep, 3))):
        edges = [(node, source) for node, chosen in zip((2, 3), sources, strict=True) for source in chosen]
        for ops in product(("skip_connect", "sep_conv_3x3"), repeat=len(edges)):
            cells.add(frozenset((*edge, op) for edge, op in zip(edges, ops, strict=True)))
    assert space.count() == len(cells) ** 2


def test_count_of_edges_that_can_only_be_none():
    # `genotype` leaves such an edge out, so a node with one of them has the options of the other edge.
    lists = {"normal": [["none"], ["skip_connect", "noise"]], "reduce": [["skip_connect"], ["noise"]]}
    space = CellSpace("holes", lists, num_nodes=1)
    seen = set()
    for pick in range(2):
        scores = {name: choice.one_hot([0, 0]) for name, choice in space.choices.items()}
        scores["normal"] = torch.eye(2)[[0, pick]]
        seen.add(str(space.genotype(scores)))
    assert space.count() == len(seen) == 2


# ------------------------------------------------------------------------------------------- the genotype rule
def brute_force(choice, table, keep):
    """All ordered ways to keep edges of a node; the best by strengths in order, then by the sources in order."""
    edges = []
    for node in sorted(set(choice.nodes)):
        strength, best = {}, {}
        for row in range(choice.num_rows):
            if choice.nodes[row] != node:
                continue
            for column in reversed(range(len(choice.options[row]))):
                option, value = choice.options[row][column], float(table[row, column])
                source = choice.sources[row]
                if option != "none" and value >= strength.get(source, -float("inf")):
                    strength[source], best[source] = value, option
        orders = permutations(strength, min(keep, len(strength)))
        winner = min(orders, key=lambda order: ([-strength[s] for s in order], order))
        edges += [(node, best[source], source) for source in winner]
    return tuple(edges)


@pytest.mark.parametrize("levels", [None, 3], ids=["distinct", "ties"])
@pytest.mark.parametrize("name", SPACES)
def test_genotype_against_brute_force(name, levels):
    space = build_space(name)
    for seed in range(20):
        scores = random_mixing(space, seed)
        if levels:
            scores = {key: (table * 7).round().clamp(max=levels) / 7 for key, table in scores.items()}
        for keep in (None, 1, 2, 3, 9):
            derived = space.genotype(scores, keep)
            for key, choice in space.choices.items():
                assert derived.cells[key] == brute_force(choice, scores[key], keep or 2)
            space.validate(derived)
        assert derived.space == name
        assert derived.concat == space.concat


@pytest.mark.parametrize("name", ["darts", "s1", "s5"])
def test_genotype_of_weighted_edges_against_brute_force(name):
    space = build_space(name).variant(edge_weights=True)
    for seed in range(20):
        scores = random_mixing(space, seed)
        derived = space.genotype(scores)
        for cell in ("normal", "reduce"):
            choice, table = space.choices[cell], scores[cell].clone()
            for row in range(choice.num_rows):
                node, source = choice.nodes[row], choice.sources[row]
                table[row] *= scores[f"{cell}_edge"][node - 2, source]  # α·β
            assert derived.cells[cell] == brute_force(choice, table, 2)
        space.validate(derived)
        assert set(derived.cells) == set(derived.concat) == {"normal", "reduce"}


def test_edge_weights_choose_edges_and_not_operations():
    space = build_space("s2").variant(edge_weights=True)
    scores = {name: choice.uniform() for name, choice in space.choices.items()}
    scores["normal"][[9, 11], 1] = 0.6  # 0 → 5 and 2 → 5: separable, and the strongest by themselves
    assert space.genotype(scores).cells["normal"][-2:] == ((5, "sep_conv_3x3", 0), (5, "sep_conv_3x3", 2))
    scores["normal_edge"][3] = torch.tensor([0.1, 0.1, 0.3, 0.1, 0.4])
    assert space.genotype(scores).cells["normal"][-2:] == ((5, "skip_connect", 4), (5, "sep_conv_3x3", 2))
    plain = {name: scores[name] for name in ("normal", "reduce")}
    assert space.genotype(plain) == build_space("s2").genotype(plain)  # strengths of edges may be missing
    scores["reduce_edge"][0, 0] = torch.nan
    with pytest.raises(GenotypeError, match="strengths of 'reduce_edge' are not numbers"):
        space.genotype(scores)


def test_ties_go_to_the_lower_option_and_the_lower_source():
    space = build_space("s2")
    equal = {name: torch.full((14, 2), 0.5) for name in space.choices}
    edges = tuple((node, "skip_connect", source) for node in range(2, 6) for source in (0, 1))
    assert space.genotype(equal).cells == {"normal": edges, "reduce": edges}


def test_edges_stand_in_the_order_of_their_strength():
    space = build_space("s2")
    scores = {name: torch.full((14, 2), 0.1) for name in space.choices}
    scores["normal"][[12, 10], [1, 0]] = torch.tensor([0.9, 0.8])  # 3 → 5 and 1 → 5
    assert space.genotype(scores).cells["normal"][-2:] == ((5, "sep_conv_3x3", 3), (5, "skip_connect", 1))


@pytest.mark.parametrize("name", ["darts", "s3"])
def test_none_is_never_chosen_and_its_score_counts_in_nothing(name):
    space = build_space(name)
    scores = random_mixing(space)
    expected = space.genotype(scores)
    for fill in (0.0, 100.0, -100.0):
        changed = {key: table.clone() for key, table in scores.items()}
        for table in changed.values():
            table[::2, 0] = fill
        derived = space.genotype(changed)
        assert derived == expected
        assert all(op != "none" for edges in derived.cells.values() for _, op, _ in edges)


def test_scores_may_carry_a_graph_and_ragged_rows():
    lists = [["skip_connect"], ["noise", "sep_conv_3x3", "max_pool_3x3"]]
    space = CellSpace("ragged", {"normal": lists, "reduce": lists[::-1]}, num_nodes=1, keep=1)
    # What a short row does not have is ignored, however large.
    scores = {"normal": [[0.2, 9.0, 9.0], [0.1, 0.3, 0.2]], "reduce": [[0.1, 0.2, 0.1], [0.3, 9.0, 9.0]]}
    derived = space.genotype({key: torch.tensor(value, requires_grad=True) for key, value in scores.items()})
    assert derived.cells == {"normal": ((2, "sep_conv_3x3", 1),), "reduce": ((2, "skip_connect", 1),)}
    supernet = space.supernet(**TINY).double()
    assert supernet(images(), random_mixing(space)).shape == (4, 3)


# ----------------------------------------------------------------------------------------------------- variants
def test_edge_choices_have_a_row_a_node():
    space = build_space("darts").variant(edge_weights=True)
    assert list(space.choices) == ["normal", "reduce", "normal_edge", "reduce_edge"]
    for cell in ("normal", "reduce"):
        choice = space.choices[f"{cell}_edge"]
        assert choice.name == f"{cell}_edge"
        assert choice.kind == "edge"
        assert choice.keep is None
        assert choice.options == (("0", "1"), ("0", "1", "2"), ("0", "1", "2", "3"), ("0", "1", "2", "3", "4"))
        assert choice.nodes == (2, 3, 4, 5)
        assert choice.sources == (0, 0, 0, 0)


@pytest.mark.parametrize("name", ["darts", "s1", "s5"])
def test_variants_are_copies_with_the_same_genotypes(name):
    space = build_space(name)
    both = space.variant(partial_channels=2).variant(edge_weights=True)
    assert (both.partial_channels, both.edge_weights) == (2, True)
    assert (space.partial_channels, space.edge_weights, set(space.choices)) == (1, False, {"normal", "reduce"})
    back = both.variant(edge_weights=False)
    assert (back.partial_channels, set(back.choices)) == (2, {"normal", "reduce"})
    assert both.count() == space.count()
    rng = torch.Generator()
    drawn, plain = both.sample(rng.manual_seed(0)), space.sample(rng.manual_seed(0))
    for cell in ("normal", "reduce"):
        assert torch.equal(drawn[cell], plain[cell])
        choice = both.choices[f"{cell}_edge"]
        assert torch.equal(drawn[f"{cell}_edge"], choice.uniform())
    assert both.genotype_of(both.sample(rng, none=False)).cells.keys() == {"normal", "reduce"}
    both.validate(space.genotype_of(space.sample(rng, none=False)))
    found = random_genotype(both)
    assert isinstance(both.network(found, **TINY), torch.nn.Module)
    with pytest.raises(AssertionError):
        space.variant(channels=3)


def test_image_sizes():
    space = build_space("s2")
    space.check_image_size(32, 8, "cifar")
    with pytest.raises(ConfigError, match=r"data\.image_size=30: 8 cells .* multiple of 4; use data\.image_size=32"):
        space.check_image_size(30, 8, "cifar")


# --------------------------------------------------------------------------------------------------- validation
@pytest.mark.parametrize("name", SPACES)
def test_derived_genotypes_belong_to_their_space(name):
    space = build_space(name)
    for seed in range(5):
        found = random_genotype(space, seed)
        space.validate(found)
        for cell, edges in found.cells.items():
            offered = {option for row in space.choices[cell].options for option in row}
            assert {op for _, op, _ in edges} <= offered - {"none"}
            assert Counter(node for node, _, _ in edges) == {2: 2, 3: 2, 4: 2, 5: 2} or name == "s5"


def test_published_genotypes_belong_to_darts_and_not_to_s2():
    for name in ("darts_v1", "darts_v2"):
        build_space("darts").validate(genotype(name))
        with pytest.raises(GenotypeError, match=r"of space 'darts' does not belong to space 's2'.*space=darts"):
            build_space("s2").network(genotype(name), **TINY)


def edited(**changes):
    plain = random_genotype(build_space("s2")).to_dict()
    plain["cells"]["normal"] = [[n, "skip_connect", s] for n in range(2, 6) for s in (0, 1)]
    for key, value in changes.items():
        plain["cells"]["normal"][int(key[1:])] = value
    plain["cells"]["normal"] = [edge for edge in plain["cells"]["normal"] if edge]
    return plain


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (edited(e0=[2, "conv_9x9", 0]), "normal cell has conv_9x9 from 0 to 2, .*skip_connect, sep_conv_3x3 there"),
        (edited(e3=[3, "max_pool_3x3", 1]), "max_pool_3x3 from 1 to 3"),
        (edited(e0=[2, "skip_connect", 2]), "from 2 to 2, the space has no edge at all"),
        (edited(e0=[2, "skip_connect", 4]), "from 4 to 2, the space has no edge at all"),
        (edited(e0=[2, "skip_connect", -1]), "from -1 to 2, the space has no edge at all"),
        (edited(e7=[6, "skip_connect", 1]), "from 1 to 6, the space has no edge at all"),
        (edited(e2=None, e3=None), r"feeds nodes \[2, 2, 4, 4, 5, 5\]; every node of \[2, 3, 4, 5\]"),
        (edited(e0=[5, "skip_connect", 4]), "feeds nodes .* in order"),
        (edited(e0=[5, "skip_connect", 0]), "edge from 0 to 5 twice"),
        (edited() | {"concat": {"normal": [2, 3, 4, 6], "reduce": [2, 3, 4, 5]}}, "concatenates"),
        (edited() | {"concat": {"normal": [], "reduce": [2, 3, 4, 5]}}, "concatenates"),
        (edited() | {"concat": {"normal": [0, 2, 3, 4], "reduce": [2, 3, 4, 5]}}, "concatenates"),
        (edited() | {"cells": {"normal": edited()["cells"]["normal"]}}, r"has cells for \['normal'\], not"),
        (edited() | {"cells": {}}, r"has cells for \[\], not for \['normal', 'reduce'\]"),
        (edited() | {"concat": {}}, "concat"),
    ],
)
def test_genotypes_that_cannot_be_built(plain, message):
    with pytest.raises(GenotypeError, match=message) as caught:
        build_space("s2").validate(Genotype.from_dict(plain))
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------- construction
def test_construction_mistakes():
    with pytest.raises(ConfigError, match=r"unknown operation conv_9x9; allowed: none, max_pool_3x3"):
        CellSpace("x", ["skip_connect", "conv_9x9"])
    with pytest.raises(ConfigError, match=r"unknown operation \(none given\)"):
        CellSpace("x", [])
    with pytest.raises(ConfigError, match=r"space\.operations has \['normal'\]"):
        CellSpace("x", {"normal": [["skip_connect"]] * 14})
    lists = space_config("s1")["operations"] | {"reduce": [["skip_connect"]] * 13}
    with pytest.raises(ConfigError, match=r"space\.operations\.reduce has 13 lists: 4 nodes make 14 edges"):
        CellSpace("x", lists)


def test_unknown_engine_and_stem():
    space = build_space("s2")
    with pytest.raises(ConfigError, match=r"engine=warp: unknown; allowed: auto, fast, reference"):
        space.supernet(engine="warp")
    with pytest.raises(ConfigError, match=r"stem=resnet"):
        space.supernet(stem="resnet")
    with pytest.raises(ConfigError, match=r"stem=resnet"):
        space.network(random_genotype(space), stem="resnet")
    with pytest.raises(ConfigError, match=r"init_channels=15"):
        space.supernet(init_channels=15)
    with pytest.raises(ConfigError, match=r"init_channels=15"):
        space.network(random_genotype(space), init_channels=15)
