"""The Python blocks of the README and the quickstart run as pasted one after the other into a fresh folder.

Only sizes are smaller: `nl.compose` adds those of `SMALLER`.
"""

import json
import math

import pytest

import nas_lightning as nl
from documents import ROOT, SMALLER, blocks

README, QUICKSTART = ROOT / "README.md", ROOT / "docs/quickstart.md"


def paste(page):
    """Run all Python blocks of a page in one namespace; return it."""
    names = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            lines = "\n" * (block.line - 1)  # a traceback shows the line of the page
            exec(compile(lines + block.text, page.name, "exec"), names)  # our own page
    return names


@pytest.fixture
def fresh_folder(tmp_path, monkeypatch):
    compose = nl.compose
    monkeypatch.setattr(nl, "compose", lambda words: compose([*words, *SMALLER]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runs(folder):
    """The summaries of the runs below a folder, in their order."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("outputs/*/*/summary.json"))]


def test_blocks_of_the_readme(fresh_folder, capsys):
    names = paste(README)
    searched, evaluated = runs(fresh_folder)
    assert (searched["space"], searched["seed"]) == ("s2", 3)
    assert evaluated["genotype"] == searched["genotype"] == names["result"].genotype.to_dict()
    assert names["result"].run_dir.is_dir()
    accuracy, eigenvalue = map(float, capsys.readouterr().out.split()[-2:])
    assert accuracy == evaluated["evaluation"]["test_accuracy"]
    shapes = {name: list(weights.shape) for name, weights in names["mixing"].items()}
    assert shapes == {"normal": [14, 2], "reduce": [14, 2]}
    assert list(names["logits"].shape) == [8, 10]
    assert math.isfinite(eigenvalue)  # its value is that of a dense Hessian in tests/curvature/


def test_blocks_of_the_quickstart(fresh_folder, capsys):
    names = paste(QUICKSTART)
    searched, evaluated = runs(fresh_folder)
    assert (searched["method"], searched["space"], searched["seed"]) == ("sdarts_rs", "s2", 3)
    printed = capsys.readouterr().out.rstrip()
    assert printed.endswith(f"{names['result'].genotype} {evaluated['evaluation']['test_accuracy']}")
