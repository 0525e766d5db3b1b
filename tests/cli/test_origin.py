"""What a genotype brings along to its evaluation, against what the command gives itself."""

import json

import pytest

from nas_lightning.cli.origin import words_of_origin

CELL = {"cells": {}, "concat": {}}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, space, seed in (("one", "nasbench201", 3), ("two", "nasbench201", 4), ("own", "a_users", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "genotype.json").write_text(json.dumps({"space": space, **CELL}))
        (tmp_path / name / "summary.json").write_text(json.dumps({"task": "search", "seed": seed}))
    (tmp_path / "file.json").write_text(json.dumps({"space": "s2", **CELL}))
    (tmp_path / "text.json").write_text('["none"]')
    return tmp_path


@pytest.mark.parametrize(
    ("words", "brought"),
    [
        ("genotype=one", ["space=nasbench201", "seed=3"]),
        ("genotype=one seed=0", ["space=nasbench201"]),
        ("genotype=one space=s1", ["seed=3"]),
        ("genotype=one seed=0,1 space=s1", []),
        ("genotype=one,two", ["space=nasbench201"]),
        ("genotype=one,file.json", []),
        ("genotype=own", ["seed=5"]),
        ("genotype=one experiment=sweep_digits", ["space=nasbench201"]),  # which sweeps over seeds
        ("genotype=one experiment=rethinking", ["space=nasbench201", "seed=3"]),
        *(("genotype=file.json", ["space=s2"]), ("genotype=text.json", []), ("genotype=gone/genotype.json", [])),
        *(("genotype=random", []), ("genotype=darts_v2", []), ("genotype=17", []), ("", [])),
    ],
)
def test_what_the_command_lacks_is_taken_from_the_genotype(place, words, brought):
    assert words_of_origin(["task=evaluate", *words.split()]) == brought
    assert words_of_origin(words.split()) == []  # other tasks read no genotype
