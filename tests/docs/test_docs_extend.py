"""Execute docs/extend.md: write its files, run its commands and its tests."""

import csv
import importlib
import sys
from pathlib import Path

import pytest

import commands
from documents import ROOT, blocks, shell_lines, write_files

PAGE = ROOT / "docs/extend.md"
_logging_as_found = commands._logging_as_found


QUICKER = ["trainer=cpu", "trainer.detect_anomaly=false", "~callbacks.curvature"]
"""Overrides that shorten the searches of the page; no result that the page shows depends on them."""


def execute(words):
    """Run one command of the page in this process: a new Python would import PyTorch each time."""
    if words[0] == "export":
        assert words[1:] == ["PYTHONPATH=$PWD:$PYTHONPATH"]
        return 0
    if words[0] == "nas-lightning":
        return commands.run([*words[1:], *QUICKER])
    assert words == ["python", "-m", "pytest"], f"extend.md: {words} is not known to this test"
    return pytest.main(["-q", "-p", "no:cacheprovider"])


@pytest.mark.slow
def test_the_walk_of_the_page(tmp_path, monkeypatch):
    files = write_files(PAGE, tmp_path)
    kinds = {name.split("/")[0] if "/" in name else "test" for name in files}
    assert kinds == {"my_package", "mine", "test"}
    assert len(files) == 13
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    commands = [words for block in blocks(PAGE) if block.language == "bash" for words in shell_lines(block.text)]
    assert [words[0] for words in commands] == ["export", *4 * ["nas-lightning"], "python"]
    try:
        for words in commands:
            assert execute(words) == 0, f"extend.md: {' '.join(words)}"
    finally:
        own = {"my_package", *(Path(name).stem for name in files)}
        for name in [name for name in sys.modules if name.split(".")[0] in own]:
            del sys.modules[name]
    assert column("outputs/dropped", "channel_drop") == [0.0, 0.2]
    assert column("outputs/annealed", "channel_drop") == [0.0, 0.1]
    assert column("outputs/annealed", "temperature") == [1.0, 0.1]
    assert column("outputs/parts", "epoch") == [0.0, 1.0]
    # The genotype does not change at a learning rate of 1e-9: the second of three epochs ends the search.
    assert column("outputs/settled", "epoch") == [0.0, 1.0]


def column(folder, name):
    """Return a column of metrics.csv in the rows of the search."""
    with open(f"{folder}/metrics.csv") as file:  # noqa: PTH123
        return [float(row[name]) for row in csv.DictReader(file) if row["phase"] == "search"]
