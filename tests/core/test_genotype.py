"""Genotypes: JSON, print, published cells, names."""

import json

import pytest

from cases import SPACES, build_space, random_genotype
from nas_lightning.core.errors import GenotypeError
from nas_lightning.spaces import PUBLISHED, Genotype, genotype

SEP, SKIP, MAX, AVG, DIL = "sep_conv_3x3", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "dil_conv_3x3"
# The released genotypes as lists of (operation, source), two a node.
CELLS = {
    "darts_v1": (
        [(SEP, 1), (SEP, 0), (SKIP, 0), (SEP, 1), (SKIP, 0), (SEP, 1), (SEP, 0), (SKIP, 2)],
        [(MAX, 0), (MAX, 1), (SKIP, 2), (MAX, 0), (MAX, 0), (SKIP, 2), (SKIP, 2), (AVG, 0)],
    ),
    "darts_v2": (
        [(SEP, 0), (SEP, 1), (SEP, 0), (SEP, 1), (SEP, 1), (SKIP, 0), (SKIP, 0), (DIL, 2)],
        [(MAX, 0), (MAX, 1), (SKIP, 2), (MAX, 1), (MAX, 0), (SKIP, 2), (SKIP, 2), (MAX, 1)],
    ),
}


@pytest.mark.parametrize("name", CELLS)
def test_published(name):
    found = genotype(name)
    assert found.space == "darts"
    for cell, pairs in zip(("normal", "reduce"), CELLS[name], strict=True):
        assert found.cells[cell] == tuple((2 + i // 2, op, source) for i, (op, source) in enumerate(pairs))
        assert found.concat[cell] == (2, 3, 4, 5)


@pytest.mark.parametrize("name", SPACES)
def test_json_round_trip(name, tmp_path):
    first = random_genotype(build_space(name))
    first.save(tmp_path / "cell.json")
    assert Genotype.load(tmp_path / "cell.json") == first
    assert Genotype.from_dict(first.to_dict()) == first
    assert genotype(str(tmp_path / "cell.json")) == first


def test_json_is_the_contract(tmp_path):
    genotype("darts_v2").save(tmp_path / "genotype.json")
    plain = json.loads((tmp_path / "genotype.json").read_text())
    assert list(plain) == ["space", "cells", "concat"]
    assert plain["cells"]["normal"][7] == [5, "dil_conv_3x3", 2]
    assert plain["concat"] == {"normal": [2, 3, 4, 5], "reduce": [2, 3, 4, 5]}
    other = Genotype("list", choices={"block": "mb3"})
    assert other.to_dict() == {"space": "list", "choices": {"block": "mb3"}}
    assert Genotype.from_dict(other.to_dict()) == other


def test_a_run_folder_is_read_through_its_genotype_json(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(GenotypeError, match=r"genotype=.*run: cannot read .*genotype\.json"):
        genotype(str(run))
    genotype("darts_v1").save(run / "genotype.json")
    assert genotype(str(run)) == PUBLISHED["darts_v1"]


def test_print():
    lines = str(genotype("darts_v2")).splitlines()
    assert lines[0] == "genotype in space darts"
    assert lines[1] == (
        "  normal: 2 = sep_conv_3x3(0) + sep_conv_3x3(1)   3 = sep_conv_3x3(0) + sep_conv_3x3(1)"
        "   4 = sep_conv_3x3(1) + skip_connect(0)   5 = skip_connect(0) + dil_conv_3x3(2)"
    )
    assert lines[2].startswith("  reduce: 2 = max_pool_3x3(0) + max_pool_3x3(1)   3 = skip_connect(2)")
    assert len(lines) == 3
    assert str(Genotype("list", choices={"block": "mb3"})) == "genotype in space list\n  block: mb3"


def test_unknown_names_point_to_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GenotypeError, match=r"genotype=dart_v2: .*nearest: darts_v2.*JSON file.*run folder"):
        genotype("dart_v2")
    with pytest.raises(GenotypeError, match=r"genotype=qqq: .*nearest: darts_v1, darts_v2"):
        genotype("qqq")
    with pytest.raises(GenotypeError, match=r"genotype=gone\.json: cannot read gone\.json"):
        genotype("gone.json")


TEXTS = {
    "not json": "{space: s2",
    "empty": "",
    "a list": "[1, 2]",
    "no space": '{"cells": {}}',
    "cells is a list": '{"space": "s2", "cells": [[2, "skip_connect", 0]]}',
    "edge of two": '{"space": "s2", "cells": {"normal": [[2, "skip_connect"]]}}',
    "edge of four": '{"space": "s2", "cells": {"normal": [[2, "skip_connect", 0, 1]]}}',
    "node is a word": '{"space": "s2", "cells": {"normal": [["two", "skip_connect", 0]]}}',
    "node is null": '{"space": "s2", "cells": {"normal": [[null, "skip_connect", 0]]}}',
    "node is no whole number": '{"space": "s2", "cells": {"normal": [[2.7, "skip_connect", 0]]}}',
    "source is infinite": '{"space": "s2", "cells": {"normal": [[2, "skip_connect", Infinity]]}}',
    "concat is a number": '{"space": "s2", "cells": {}, "concat": {"normal": 2}}',
    "choices is a number": '{"space": "s2", "choices": 3}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_malformed_files(text, tmp_path):
    file = tmp_path / "cell.json"
    file.write_text(text)
    with pytest.raises(GenotypeError, match=r"genotype=.*cell\.json: (cannot read|not a genotype)") as caught:
        genotype(str(file))
    assert "\n" not in str(caught.value)


def test_binary_files(tmp_path):
    file = tmp_path / "cell.json"
    file.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(GenotypeError, match="cannot read"):
        genotype(str(file))


def test_missing_field_is_named():
    with pytest.raises(GenotypeError, match=r"^here: not a genotype \(KeyError: 'space'\); expected"):
        Genotype.from_dict({"cells": {}}, where="here")
