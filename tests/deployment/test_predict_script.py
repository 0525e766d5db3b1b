"""predict.py of an export: it needs no torch, and labels any image as `task=predict` does."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nas_lightning as nl
from exported import CLASSES, describe, export
from nas_lightning.data.listing import EXTENSIONS, JUNK
from nas_lightning.data.preprocessing import Preprocessing
from nas_lightning.deployment import onnx_files, predict
from nas_lightning.deployment.onnx_files import ONNX_PACKAGES
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.export import _notes as notes

# Slow; in one worker, which makes the exports once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("predict_script")]
RULES = {
    "photos": Preprocessing(3, 16, 18, True, 4095.0, 40),
    "published": Preprocessing(3, 16, 21),
    "grey": Preprocessing(1, 8, 8, background=90),
    "stretched": Preprocessing(1, 8, (8, 8), white=300.0),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    for package in ONNX_PACKAGES:
        pytest.importorskip(package)
    home = tmp_path_factory.mktemp("exports")
    return {name: export(home / name, rules) for name, rules in RULES.items()}


@pytest.fixture(scope="module")
def blocked(tmp_path_factory):
    """An environment in which torch and this package cannot be imported."""
    folder = tmp_path_factory.mktemp("blocked")
    for name in ("torch", "torchvision", "lightning", "nas_lightning"):
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not to be imported')\n")
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("torch", "nas_lightning"):
        ended = subprocess.run([sys.executable, "-c", f"import {name}"], env=environment, capture_output=True)
        assert ended.returncode == 1
    return environment


@pytest.fixture(scope="module")
def odd_images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd images")
    rng = np.random.default_rng(3)

    def noise(*shape, high=256, dtype=np.uint8):
        """Blocks of 4 pixels: fine noise would vanish when large images are made small."""
        blocks = rng.integers(0, high, ((shape[0] + 3) // 4, (shape[1] + 3) // 4, *shape[2:]))
        return blocks.repeat(4, 0).repeat(4, 1)[: shape[0], : shape[1]].astype(dtype)

    (folder / "inner" / ".hidden").mkdir(parents=True)
    (folder / "@eaDir").mkdir()
    for name in (".hidden.png", "inner/.hidden/a.png", "@eaDir/a.png"):
        Image.new("L", (9, 9)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / "broken.png").write_bytes(b"no image")
    Image.fromarray(noise(23, 31)).save(folder / "grey.png")
    Image.fromarray(noise(23, 31, high=300, dtype=np.uint16)).save(folder / "sixteen.png")
    Image.fromarray(noise(40, 31, high=300, dtype=np.uint16)).save(folder / "sixteen clear.png", transparency=37)
    Image.fromarray(noise(23, 31, high=60000, dtype=np.uint16)).save(folder / "beyond white.png")
    Image.fromarray(noise(23, 31, high=2, dtype=np.uint16)).save(folder / "black.png")
    Image.fromarray(noise(23, 31).astype(np.float32) / 255).save(folder / "real.TIFF")
    Image.fromarray(noise(30, 20, 4)).save(folder / "rgba.png")
    Image.fromarray(noise(30, 20, 2)).save(folder / "la.png")
    Image.fromarray(noise(30, 20) % 7).convert("P").save(folder / "palette.png", transparency=3)
    Image.fromarray(noise(30, 20) > 90).save(folder / "bits.png")
    Image.fromarray(noise(30, 20, 4), "CMYK").save(folder / "cmyk.jpg")
    frames = [Image.fromarray(noise(25, 25, 3)) for _ in range(2)]
    frames[0].save(folder / "frames.gif", save_all=True, append_images=frames[1:])
    for orientation in (3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(noise(37, 80, 3)).save(folder / "inner" / f"turned {orientation}.jpg", exif=exif)
    large = Image.fromarray(noise(60, 80, 3)).resize((2400, 1801), Image.Resampling.BICUBIC)
    large.save(folder / "large, ünïcode.JPG", quality=70)
    Image.new("RGB", (1, 3), (250, 10, 90)).save(folder / "tiny.webp", lossless=True)
    return folder


def run(folder, environment, *words):
    """What a user sees: a command in another folder."""
    command = [sys.executable, str(folder / "predict.py"), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", cwd="/", check=False, env=environment, timeout=120
    )


@pytest.mark.parametrize("name", RULES)
def test_labels_and_probabilities_are_those_of_the_task(name, exports, blocked, odd_images, tmp_path, recwarn):
    words = ["task=predict", "trainer=cpu", f"run={exports[name]}", f"images={odd_images}", "predict.top=3"]
    expected = nl.predict(nl.compose(words), run_dir=tmp_path / "p")
    moved = shutil.copytree(exports[name], tmp_path / "alone")
    for path in moved.iterdir():
        if path.name not in ("predict.py", "network.onnx"):
            path.unlink()
    ended = run(moved, blocked, odd_images, "--top", 3, "--csv")
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    with (tmp_path / "p" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [row["path"] for row in table]
    assert list(rows[0]) == list(table[0])
    assert len(rows) == 18
    for row, found in zip(rows, expected, strict=True):
        assert bool(row["error"]) == bool(found.error), row
        if found.error:
            continue
        suffixes = ("", "_2", "_3")
        assert tuple(row[f"label{suffix}"] for suffix in suffixes) == found.labels, row["path"]
        values = [float(row[f"probability{suffix}"]) for suffix in suffixes]
        np.testing.assert_allclose(values, found.probabilities, atol=1e-5, rtol=0, err_msg=row["path"])
    broken = sorted(Path(row["path"]).name for row in rows if row["error"])
    off_scale = {
        "photos": ["beyond white.png", "black.png", "real.TIFF"],
        "published": ["black.png"],
        "grey": ["black.png"],
        "stretched": ["beyond white.png"],
    }
    assert broken == sorted(["broken.png", *off_scale[name]])
    assert ended.returncode == 1
    assert ended.stderr == f"predict.py: {len(broken)} of 18 cannot be read; see the column error\n"
    # The test notices other pixels: images differ by far more than the tolerance.
    first = np.array([found.probabilities[0] for found in expected if not found.error])
    assert np.abs(first[:, None] - first).max() > 0.05


def test_lines_for_people(exports, blocked, odd_images):
    photo, broken = odd_images / "rgba.png", odd_images / "broken.png"
    ended = run(exports["photos"], blocked, photo, "--top", 9)
    assert (ended.returncode, ended.stderr) == (0, "")
    (line,) = ended.stdout.splitlines()
    assert line.startswith(f"{photo}: ")
    assert all(f"{name} 0." in line for name in CLASSES)
    ended = run(exports["photos"], blocked, broken, photo)
    assert ended.returncode == 1
    assert ended.stdout.count("\n") == 1
    assert ended.stderr.startswith(f"predict.py: cannot read the image {broken} (")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: PHOTO|FOLDER; python predict.py PHOTO"),
        (["nowhere"], "nowhere: there is no such file or folder; give a photo or a folder"),
        (["EMPTY"], "there are no images in this folder; read are .jpg"),
        (["EMPTY", "--top", "0"], "argument --top: 0 is not 1 or more"),
        (["EMPTY", "--network", "none.onnx"], "none.onnx: there is no such file; put it beside predict.py"),
        (["EMPTY", "--network", "DAMAGED"], "cannot be loaded ("),
        (["EMPTY", "--network", "PLAIN"], "its metadata lacks 'classes'; give a file that task=export wrote"),
    ],
)
def test_mistakes_are_one_line(words, message, exports, blocked, tmp_path):
    import onnx

    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged.onnx").write_bytes((exports["grey"] / "network.onnx").read_bytes()[:900])
    plain = onnx.load(exports["grey"] / "network.onnx")
    plain.ClearField("metadata_props")
    onnx.save(plain, tmp_path / "plain.onnx")
    names = {"EMPTY": "empty", "DAMAGED": "damaged.onnx", "PLAIN": "plain.onnx"}
    ended = run(exports["grey"], blocked, *(tmp_path / names[word] if word in names else word for word in words))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert ended.stderr.startswith("predict.py: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("package", ["numpy", "PIL", "onnxruntime"])
def test_a_missing_package_is_one_line(package, exports, blocked, odd_images, tmp_path):
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('none', name='{package}')\n")
    environment = {**blocked, "PYTHONPATH": os.pathsep.join([str(tmp_path), blocked["PYTHONPATH"]])}
    ended = run(exports["grey"], environment, odd_images)
    assert ended.returncode in (1, 2)
    assert ended.stderr == f"predict.py: needs {package}; pip install onnxruntime numpy pillow\n"


def test_no_script_without_known_preprocessing_or_onnx(tmp_path):
    for package in ONNX_PACKAGES:
        pytest.importorskip(package)
    export(tmp_path / "unknown", None)
    assert (tmp_path / "unknown" / "network.onnx").is_file()
    assert not (tmp_path / "unknown" / "predict.py").exists()
    export(tmp_path / "no_onnx", RULES["grey"], onnx=False)
    assert not (tmp_path / "no_onnx" / "predict.py").exists()


@pytest.mark.parametrize(
    ("channels", "reason"),
    [
        (3, "the transforms of your own data module are not known here"),
        (4, "photos have 1 or 3 channels, the images of this network 4"),
    ],
)
def test_why_there_is_no_script_is_said(tmp_path, channels, reason):
    trained = replace(describe(RULES["photos"]), preprocessing=None, in_channels=channels)
    lines = notes(trained, True, None, RunFolder(tmp_path / "e"))
    assert lines[0] == f"no predict.py: {reason}"
    assert not any("label photos" in line for line in lines)


def test_missing_packages_of_onnx_are_one_line(tmp_path, monkeypatch, capsys):
    source = export(tmp_path / "source", RULES["grey"], onnx=False)
    monkeypatch.setattr(onnx_files, "ONNX_PACKAGES", ("no_such_package_here",))
    nl.export(source, tmp_path / "e")
    lines = [line for line in capsys.readouterr().out.splitlines() if "predict.py" in line]
    assert lines == [
        "export.onnx=null: no network.onnx and no predict.py, their packages are missing; "
        "pip install 'nas-lightning[export]'"
    ]
    assert not {"predict.py", "network.onnx"} & {path.name for path in (tmp_path / "e").iterdir()}


def test_it_reads_the_same_files_as_the_task():
    assert (predict.EXTENSIONS, set(predict.JUNK)) == (EXTENSIONS, JUNK)


def test_the_file_describes_itself(exports):
    import onnx

    path = exports["photos"] / "network.onnx"
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    shapes = [
        [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["batch", 3, 16, 16], ["batch", len(CLASSES)]]
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["classes"]) == list(CLASSES)
    assert (about["image_size"], about["channels"]) == ("16", "3")
    assert (json.loads(about["mean"]), json.loads(about["std"])) == ([0.4, 0.5, 0.45], [0.2, 0.25, 0.3])
    assert (about["product"], about["version"], about["space"]) == ("nas_lightning", nl.__version__, "nasbench201")
    assert nl.Genotype.from_dict(json.loads(about["genotype"])) == nl.Genotype.from_dict(
        describe(RULES["photos"]).genotype
    )
    content = path.read_bytes()
    assert str(Path(nl.__file__).parents[1]).encode() not in content  # no paths of the machine that made it
    assert b"site-packages" not in content
