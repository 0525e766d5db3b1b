"""docs/own_images.md is carried out on generated photos, with smaller sizes: every command ends well, in its order."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import commands
from documents import ROOT, SMALLER, blocks, commands_in, shell_lines
from nas_lightning.deployment.onnx_files import ONNX_PACKAGES

PAGE = ROOT / "docs/own_images.md"
_logging_as_found = commands._logging_as_found
SIZES = [word for word in SMALLER if "layers" not in word and "init_channels" not in word]
"""Those that are not the space's own."""


def photos(folder, number):
    """Photos of two classes that differ in their brightness."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 0), ("bright", 150)):
        (folder / name).mkdir(parents=True)
        for index in range(number):
            pixels = rng.integers(level, level + 100, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.mark.slow
def test_the_walk(tmp_path, monkeypatch, capsys):
    for package in ONNX_PACKAGES:
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    photos(Path("PHOTOS/train"), 40)
    photos(Path("PHOTOS/test"), 10)
    texts = [block.text for block in blocks(PAGE) if block.language == "bash"]
    found = [words for text in texts for words in commands_in(text)]
    assert len(found) == 4
    for words in found:
        sizes = SIZES if any(word.startswith("data=") for word in words) else []
        assert commands.run([*words, *sizes]) == 0, f"{' '.join(words)}: {capsys.readouterr().err}"
    summary = json.loads(Path("outputs/small/summary.json").read_text())
    assert summary["evaluation"]["macs"] <= 5e6
    assert summary["selection"]["max_macs"] == 5
    (script,) = [words for text in texts for words in shell_lines(text) if "outputs/device/predict.py" in words]
    done = subprocess.run([sys.executable, *script[1:]], capture_output=True, text=True, timeout=300, check=True)
    assert len(done.stdout.strip().splitlines()) >= 20  # a line a photo
