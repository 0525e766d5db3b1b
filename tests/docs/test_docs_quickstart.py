"""docs/quickstart.md is carried out, with smaller sizes: every command ends well, one after the other."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import commands
from documents import ROOT, SMALLER, blocks, commands_in

PAGE = ROOT / "docs/quickstart.md"
_logging_as_found = commands._logging_as_found
LEFT_OUT = ("data=image_folder", "data=arrays", "data=cifar10")
"""Commands on images that are not here."""
LOOKED_UP = [word for word in SMALLER if not word.startswith(("evaluation.", "search.layers", "~"))]
"""Those for a command whose cells are looked up, not trained, in a supernet of one cell a stage."""


@pytest.mark.slow
def test_the_commands_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("PHOTOS").mkdir()
    Image.fromarray(np.full((20, 20), 200, dtype=np.uint8)).save("PHOTOS/one.png")
    found = [words for block in blocks(PAGE) if block.language == "bash" for words in commands_in(block.text)]
    words_of_all = [words for words in found if not any(word in LEFT_OUT for word in words)]
    assert len(words_of_all) == 12
    for words in words_of_all:
        trains = not any(word.startswith(("task=", "resume=", "--")) for word in words)
        smaller = LOOKED_UP if "experiment=rethinking" in words else SMALLER
        assert commands.run([*words, *(smaller if trains else ())]) == 0, (
            f"{' '.join(words)}: {capsys.readouterr().err}"
        )
    for name in ("first", "second"):
        assert json.loads(Path(f"outputs/{name}/summary.json").read_text())["evaluation"]["test_accuracy"] is not None
    assert Path("outputs/rethinking/plots/readings.svg").is_file()
    assert len(list(Path("multirun/two_methods").glob("*-seed*"))) == 4
    assert "sdarts_rs" in Path("outputs/report/report.md").read_text()
    assert Path("outputs/exported/network.pt2").is_file()
    assert list(Path("outputs").rglob("predictions.csv"))
    listed = [
        line.split("|")[1].strip().strip("`") for line in PAGE.read_text().splitlines() if line.startswith("| `out")
    ]
    assert len(listed) == 5
    assert all(Path(path).exists() for path in listed)
