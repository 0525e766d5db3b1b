"""String forms of NAS-Bench-201: all of them there and back, and what is none."""

import gzip
import json
from itertools import product

import pytest

import nas_lightning as nl
from cases import REAL_TABLE
from nas_lightning.spaces import NasBench201Space, genotype

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"


def written(ops):
    """By the plain rule of the paper."""
    a, b, c, d, e, f = ops
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def test_all_of_them_there_and_back():
    for ops in product(OPS, repeat=6):
        text = written(ops)
        found = nl.Genotype.from_arch_str(text)
        assert tuple(op for _, op, _ in found.cells["cell"]) == ops
        assert found.arch_str == text


def test_edges_and_form():
    found = nl.Genotype.from_arch_str(written(OPS[i] for i in (0, 1, 2, 3, 4, 0)))
    assert found.space == "nasbench201"
    assert found.concat == {"cell": (3,)}
    assert found.cells == {
        "cell": (
            (1, "none", 0),
            (2, "skip_connect", 0),
            (2, "nor_conv_1x1", 1),
            (3, "nor_conv_3x3", 0),
            (3, "avg_pool_3x3", 1),
            (3, "none", 2),
        )
    }


def test_json_has_both_forms_and_either_is_read(tmp_path):
    found = nl.Genotype.from_arch_str(SKIP)
    found.save(tmp_path / "cell.json")
    plain = json.loads((tmp_path / "cell.json").read_text())
    assert list(plain) == ["space", "cells", "concat", "arch_str"]
    assert plain["arch_str"] == SKIP
    assert plain["cells"]["cell"][5] == [3, "skip_connect", 2]
    assert nl.Genotype.from_dict(plain) == found
    assert nl.Genotype.from_dict({"arch_str": SKIP}) == found
    assert nl.Genotype.from_dict({"arch_str": SKIP, "space": "mine"}).space == "mine"
    assert nl.Genotype.from_dict({key: plain[key] for key in ("space", "cells", "concat")}) == found


def test_contradicting_forms_are_refused():
    plain = nl.Genotype.from_arch_str(SKIP).to_dict() | {"arch_str": SKIP.replace("skip_connect~2", "none~2")}
    with pytest.raises(nl.GenotypeError, match=r"^here: arch_str=.* is another cell"):
        nl.Genotype.from_dict(plain, where="here")
    darts = genotype("darts_v2").to_dict() | {"arch_str": SKIP}
    with pytest.raises(nl.GenotypeError, match="another cell"):
        nl.Genotype.from_dict(darts)


def test_order_of_edges_does_not_matter():
    cell = nl.Genotype.from_arch_str(SKIP.replace("skip_connect~1", "none~1"))
    turned = nl.Genotype("nasbench201", {"cell": tuple(reversed(cell.cells["cell"]))}, cell.concat)
    assert turned.arch_str == cell.arch_str
    NasBench201Space().validate(turned)


def test_names_and_strings_are_genotypes():
    assert genotype(SKIP).arch_str == genotype("nasbench201_darts").arch_str == SKIP
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    assert genotype("nasbench201_drnas").arch_str == best


def test_print_shows_the_string():
    assert str(genotype("nasbench201_darts")).splitlines()[-1].strip() == SKIP


WRONG = {
    "": "are not enclosed in bars",
    "|": "are not enclosed in bars",
    "nor_conv_3x3~0": "are not enclosed in bars",
    SKIP[:-1]: "are not enclosed in bars",
    SKIP.replace("skip_connect~2", "skip_conect~2"): "did you mean skip_connect",
    SKIP.replace("skip_connect~2", "sep_conv_3x3~2"): "is not operation~source",
    SKIP.replace("skip_connect~2", "skip_connect"): "operations: none, skip_connect",
    SKIP.replace("skip_connect~2", "skip_connect~3"): "has no source node",
    SKIP.replace("skip_connect~2", "skip_connect~-1"): "has no source node",
    SKIP.replace("skip_connect~2", "skip_connect~"): "has no source node",
    SKIP.replace("skip_connect~2", "skip_connect~1"): "need the sources",
    SKIP.rpartition("+")[0]: "need the sources",
    SKIP + "+|none~0|": "need the sources",
    SKIP.replace("|+|", "|\n|"): "is not operation~source",
}


@pytest.mark.parametrize("text", WRONG)
def test_malformed_strings_are_one_line(text):
    with pytest.raises(nl.GenotypeError, match=WRONG[text]) as caught:
        nl.Genotype.from_arch_str(text)
    assert "\n" not in str(caught.value)
    assert "expected a string like |skip_connect~0|+|none~0|" in str(caught.value)


def test_a_file_with_a_malformed_string(tmp_path):
    (tmp_path / "cell.json").write_text('{"arch_str": "|none~0|"}')
    with pytest.raises(nl.GenotypeError, match=r"^genotype=[^:]*cell\.json: arch_str=\|none~0\|: not a cell"):
        genotype(str(tmp_path / "cell.json"))


OTHERS = {
    "darts": genotype("darts_v2"),
    "two cells": nl.Genotype("x", dict.fromkeys("ab", genotype(SKIP).cells["cell"]), dict.fromkeys("ab", (3,))),
    "other output": nl.Genotype("x", genotype(SKIP).cells, {"cell": (2, 3)}),
    "edge missing": nl.Genotype("x", {"cell": genotype(SKIP).cells["cell"][:-1]}, {"cell": (3,)}),
    "edge twice": nl.Genotype("x", {"cell": (*genotype(SKIP).cells["cell"], (3, "none", 0))}, {"cell": (3,)}),
    "other operation": nl.Genotype(
        "x", {"cell": (*genotype(SKIP).cells["cell"][:-1], (3, "max_pool_3x3", 2))}, {"cell": (3,)}
    ),
    "nothing": nl.Genotype("x"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_genotypes_have_none(name):
    with pytest.raises(nl.GenotypeError, match=r"has no arch_str.*space=nasbench201") as caught:
        _ = OTHERS[name].arch_str
    assert "\n" not in str(caught.value)
    assert "arch_str" not in OTHERS[name].to_dict()
    with pytest.raises(nl.GenotypeError, match="does not belong to space 'nasbench201'"):
        NasBench201Space().validate(OTHERS[name])


@pytest.mark.skipif(not REAL_TABLE.exists(), reason="the table of accuracies is local only")
def test_the_strings_of_the_benchmark_are_these():
    with gzip.open(REAL_TABLE, "rt") as file:
        found = {line.split(",")[1] for line in file} - {"arch_str"}
    assert found == {written(ops) for ops in product(OPS, repeat=6)}
