"""The wheel carries everything: installed into a fresh environment, it searches from an empty folder."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from conftest import TINY_SIZES

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wheel_in_a_fresh_environment(tmp_path):
    def call(*words, cwd=tmp_path):
        return subprocess.run([str(word) for word in words], cwd=cwd, check=True, capture_output=True, text=True)

    call(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "nas_lightning/evaluation/tables/nasbench201.csv.gz" in names
    assert {Path(name).name for name in names if "dist-info/licenses/" in name} == {"LICENSE", "NOTICE"}
    # Fresh, but for the dependencies (gigabytes), which are seen through a path file.
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    call(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    site = Path(call(python, "-c", "import site; print(site.getsitepackages()[0])").stdout.strip())
    outer = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "outer.pth").write_text(outer + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    found = call(python, "-c", "import nas_lightning; print(nas_lightning.__file__)", cwd=empty).stdout.strip()
    assert found.startswith(str(site))
    command = tmp_path / "venv" / "bin" / "nas-lightning"
    assert "image_folder" in call(command, "--help", cwd=empty).stdout
    call(command, *TINY_SIZES, "hydra.run.dir=mine", cwd=empty)
    summary = json.loads((empty / "mine" / "summary.json").read_text())
    assert summary["evaluation"]["test_accuracy"] is not None
    assert {path.name for path in empty.iterdir()} == {"mine"}
