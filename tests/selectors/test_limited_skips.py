"""Selection with limited skip connections: the released procedure, a table by hand, and what cannot be limited."""

import pytest
import torch

from cases import block_space, build_space, seeded
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.selectors import LimitedSkips, Magnitude
from nas_lightning.spaces import NasBench201Space

SKIP = 3  # among the eight operations of the DARTS space, `none` first


def released(table, kept, limit):
    """The procedure of the released code, on flags [14][8] of the three options left of each edge and all strengths."""
    table = [[p if there else 0.0 for p, there in zip(*rows, strict=True)] for rows in zip(table, kept, strict=True)]
    for row in table:
        row[0] = 0.0  # `none` is taken out before anything is compared

    def parse():
        option = [max(range(8), key=lambda o, row=row: (row[o], o)) for row in table]
        taken, start = {0: option[0], 1: option[1]}, 2
        for inputs in (3, 4, 5):
            order = sorted(range(inputs), key=lambda place, start=start: max(table[start + place]))
            taken |= {start + place: option[start + place] for place in order[-2:]}
            start += inputs
        return dict(sorted(taken.items()))

    taken = parse()
    while sum(option == SKIP for option in taken.values()) > limit:
        skips = {row: table[row][SKIP] for row, option in taken.items() if option == SKIP}
        table[min(skips, key=skips.get)][SKIP] = 0.0
        taken = parse()
    return taken


def edges_of(taken, choice):
    return tuple((choice.nodes[row], choice.options[row][option], choice.sources[row]) for row, option in taken.items())


@pytest.mark.parametrize("limit", [0, 2, 5, 8])
def test_against_the_released_procedure(limit):
    """Three options an edge, as its last stage has; skip connections are strong, so that there is much to limit."""
    space, limited = build_space("darts"), 0
    for seed in range(30):
        rng, tables, kept = seeded(seed), {}, {}
        for name in ("normal", "reduce"):
            raw = torch.rand(14, 8, generator=rng, dtype=torch.float64)
            raw[:, SKIP] += 0.5
            flags = torch.zeros(14, 8, dtype=torch.bool).scatter(1, raw.argsort(descending=True)[:, :3], True)
            tables[name] = torch.where(flags, raw, 0) / (raw * flags).sum(dim=1, keepdim=True)
            kept[name] = flags.tolist()
        found = LimitedSkips(limit)(space, tables)
        for name, most in (("normal", limit), ("reduce", 8)):
            expected = released(tables[name].tolist(), kept[name], most)
            assert found.cells[name] == edges_of(expected, space.choices[name])
        skips = sum(op == "skip_connect" for _, op, _ in found.cells["normal"])
        assert skips <= limit
        limited += found.cells["normal"] != LimitedSkips(8)(space, tables).cells["normal"]
        space.validate(found)
    assert limited >= {0: 25, 2: 25, 5: 1, 8: 0}[limit]
    assert limited == 0 or limit < 8


def test_limiting_flips_the_choice_of_an_edge():
    """Node 3: without its skip connection, the edge from 0 falls behind that from 2, which was not kept before."""
    space = build_space("darts")
    table = torch.full((14, 8), 0.01, dtype=torch.float64)
    table[:, 4] = 0.2  # sep_conv_3x3 everywhere
    table[0, SKIP], table[1, SKIP] = 0.6, 0.5
    table[2, SKIP] = table[3, 4] = 0.4  # the edges from 0 and 1 into node 3
    table[4, 4] = 0.3  # from 2 into node 3
    tables = {"normal": table, "reduce": table}
    free, found = LimitedSkips(3)(space, tables), LimitedSkips(2)(space, tables)
    assert free.cells["normal"][2:4] == ((3, "skip_connect", 0), (3, "sep_conv_3x3", 1))
    assert found.cells["normal"][2:4] == ((3, "sep_conv_3x3", 1), (3, "sep_conv_3x3", 2))
    assert found.cells["reduce"] == free.cells["reduce"]
    for row in (0, 1):
        assert found.cells["normal"][row] == (2, "skip_connect", row)
    # The weakest goes first: at a limit of 1 the edge from 1 to 2, which node 2 keeps with its next operation.
    assert LimitedSkips(1)(space, tables).cells["normal"][:2] == ((2, "skip_connect", 0), (2, "sep_conv_3x3", 1))


def test_ties_go_to_the_later_edge():
    space = build_space("darts")
    tables = {name: torch.full((14, 8), 0.125) for name in ("normal", "reduce")}
    found = LimitedSkips(8)(space, tables).cells["normal"]
    assert [(node, source) for node, _, source in found] == [
        (2, 0), (2, 1), (3, 1), (3, 2), (4, 2), (4, 3), (5, 3), (5, 4)
    ]  # fmt: skip
    darts = Magnitude()(space, tables).cells["normal"]
    assert [(node, source) for node, _, source in darts if node > 2] == [(n, s) for n in (3, 4, 5) for s in (0, 1)]


def test_it_ends_where_no_skip_connection_is_left_to_drop():
    """Edges that offer nothing else keep theirs, and options that were dropped do not come back."""
    space = build_space("darts")
    table = torch.zeros(14, 8, dtype=torch.float64)
    table[:, SKIP] = 1.0
    assert {op for _, op, _ in LimitedSkips(2)(space, {"normal": table, "reduce": table}).cells["normal"]} == {
        "skip_connect"
    }


def test_without_skips_beyond_the_limit_it_is_magnitude():
    space = build_space("s2")
    tables = {name: torch.rand(14, 2, generator=seeded(1)) for name in space.choices}
    found, expected = LimitedSkips(8)(space, tables), Magnitude()(space, tables)
    assert {name: sorted(edges) for name, edges in found.cells.items()} == {
        name: sorted(edges) for name, edges in expected.cells.items()
    }


def test_nasbench201_keeps_all_edges_and_may_hold_none():
    space = NasBench201Space()
    table = torch.zeros(6, 5, dtype=torch.float64)
    table[:, 1] = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.55, 0.5])  # skip_connect
    table[:, 0], table[:, 3] = 0.3, 0.2
    found = [op for _, op, _ in LimitedSkips(2)(space, {"cell": table}).cells["cell"]]
    assert found == ["skip_connect"] * 2 + ["none"] * 4


def test_refusals():
    blocks = block_space("nasbench1shot1_1")
    for space, words in ((build_space("s4"), "no skip_connect in 'normal'"), (blocks, "has choices of ")):
        with pytest.raises(ConfigError, match=words) as caught:
            LimitedSkips().check(space)
        assert "\n" not in str(caught.value)
        assert "selector=magnitude" in str(caught.value)
    with pytest.raises(ConfigError, match=r"selector\.cell=up: .*normal, reduce"):
        LimitedSkips(cell="up").check(build_space("s1"))
    tables = {name: torch.full((14, 8), float("nan")) for name in ("normal", "reduce")}
    with pytest.raises(GenotypeError, match="diverged"):
        LimitedSkips()(build_space("darts"), tables)
