"""A trained network leaves its run: files that others load give its outputs, and images get its labels."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nas_lightning as nl
from conftest import TINY_SIZES
from nas_lightning.config.compose import check_overrides_of_another_run
from nas_lightning.core.errors import MachineError
from nas_lightning.deployment import onnx_files, write_export
from nas_lightning.deployment.description import plain_weights
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training.workbench import Workbench

pytestmark = pytest.mark.xdist_group("deployment")  # in one worker, which makes what they share once
ROOT = Path(__file__).parents[2]
CELL201 = "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|nor_conv_3x3~2|"
SIZES = [word for word in TINY_SIZES if word.startswith("evaluation.")]


def train(folder, *words):
    nl.evaluate(nl.compose(["task=evaluate", "trainer=cpu", "~callbacks.curvature", *SIZES, *words]), run_dir=folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(images_file, tmp_path_factory):
    """A cell network on grey arrays."""
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    return train(folder, "data=arrays", f"data.path={images_file}", "space=darts", "genotype=darts_v2")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Colour photos that are not square, of two classes told by their colour; one lies on its side."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "a dog")):
        (folder / name).mkdir()
        for index in range(8):
            pixels = rng.integers(0, 120, (20 + 3 * index, 40, 3), dtype=np.uint8)
            pixels[..., 2 * label] += 130
            exif = Image.Exif()
            exif[0x0112] = 6 if index == 7 else 1
            Image.fromarray(pixels).save(folder / name / f"{index}.jpg", exif=exif)
    return folder


@pytest.fixture(scope="module")
def photo_run(photos, tmp_path_factory):
    words = ["data=image_folder", f"data.path={photos}", "data.image_size=16", "data.num_workers=0"]
    cell = ["space=nasbench201", f"genotype={CELL201}", "evaluation.layers=1"]
    return train(tmp_path_factory.mktemp("photo_run") / "run", *words, *cell)


def original(folder):
    """The trained network, put together by hand from configuration, genotype and checkpoint."""
    run = RunFolder(folder)
    bench = Workbench(run.config(), run)
    recipe = bench.config.evaluation
    data = bench.data
    network = bench.space.network(
        run.genotype(), data.num_classes, data.in_channels, recipe["init_channels"], recipe["layers"], False
    )
    saved = torch.load(run.checkpoints / "evaluation/last.ckpt", weights_only=True)["state_dict"]
    network.load_state_dict({name[8:]: value for name, value in saved.items() if name.startswith("network.")})
    return bench.data, network.eval()


def outputs(network, data, images):
    """Of images from 0 to 1."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
    with torch.no_grad():
        return network((images - mean) / std)


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("run", [pytest.param("evaluated", marks=pytest.mark.slow), "photo_run"])
def test_exported_files_give_the_outputs_of_the_network(run, request, tmp_path):
    folder = request.getfixturevalue(run)
    before = files_of(folder)
    made = nl.export(nl.compose(["task=export", f"run={folder}", "export.onnx=false"]), run_dir=tmp_path / "e")
    assert files_of(folder) == before
    data, network = original(folder)
    images = torch.rand(7, data.in_channels, data.image_size, data.image_size)
    expected = outputs(network, data, images)
    program = torch.export.load(tmp_path / "e" / "network.pt2").module()
    torch.testing.assert_close(program(images), expected)
    network.load_state_dict(torch.load(tmp_path / "e" / "weights.pt", weights_only=True))
    assert set(made["largest_difference"]) == {"weights.pt", "network.pt2"}
    assert json.loads((tmp_path / "e" / "export.json").read_text()) == made
    assert not any("auxiliary" in name for name in torch.load(tmp_path / "e" / "weights.pt", weights_only=True))


@pytest.mark.slow
def test_onnx_gives_them_too(evaluated, tmp_path):
    for package in onnx_files.ONNX_PACKAGES:
        pytest.importorskip(package)
    import onnxruntime

    made = nl.export(nl.compose(["task=export", f"run={evaluated}", "export.onnx=true"]), run_dir=tmp_path)
    assert made["largest_difference"]["network.onnx"] < 1e-5
    data, network = original(evaluated)
    images = torch.rand(9, 1, 8, 8)
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), outputs(network, data, images), atol=1e-5, rtol=1e-4)


def test_an_auxiliary_head_stays_behind():
    """As a training with one leaves its checkpoint."""
    space = nl.build_space(nl.compose(["space=darts"]))
    network = space.network(nl.genotype("darts_v2"), 10, 3, 4, 3, auxiliary=True)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    bare = space.network(nl.genotype("darts_v2"), 10, 3, 4, 3)
    kept = plain_weights(state)
    bare.load_state_dict(kept)
    assert len(kept) < len(state)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(bare.eval()(images), network.eval()(images))


@pytest.mark.slow
def test_the_example_runs_elsewhere(evaluated, tmp_path):
    nl.export(nl.compose(["task=export", f"run={evaluated}", "export.onnx=false"]), run_dir=tmp_path / "e")
    shutil.move(tmp_path / "e", tmp_path / "moved")
    (tmp_path / "cwd").mkdir()
    command = [sys.executable, str(tmp_path / "moved" / "load.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path / "cwd", check=False, env=environment, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout.split("difference: ")[1].split()[0]) < 1e-5


def test_a_file_that_differs_is_refused(evaluated, tmp_path):
    trained = nl.TrainedNetwork.load(evaluated)
    network = trained.build()
    network.register_forward_hook(lambda module, images, logits: logits + 0.01)
    with pytest.raises(nl.NasLightningError, match=r"weights.pt: its outputs differ .* by 1.00e-02"):
        write_export(trained, network, tmp_path, onnx=False)
    assert not (tmp_path / "export.json").exists()


def test_predictions_are_those_of_the_network_on_its_test_images(photo_run, photos, tmp_path):
    """Photos that are not square, one turned; and one that is no image."""
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "cat" / "broken.png").write_bytes(b"no image")
    data, network = original(photo_run)
    test = data.dataset("test", augment=False)
    with torch.no_grad():
        logits = network(torch.stack([test[index][0] for index in range(len(test))]))
    words = ["trainer=cpu", f"run={photo_run}", f"images={tmp_path / 'photos'}", "predict.batch_size=5"]
    found = nl.predict(nl.compose(["task=predict", *words]), run_dir=tmp_path / "p")
    assert [prediction.path for prediction in found] == sorted(prediction.path for prediction in found)
    by_first = {round(p.probabilities[0], 5) for p in found if not p.error}
    expected = logits.softmax(dim=1).max(dim=1).values.tolist()
    assert len(test) >= 2
    assert all(any(abs(value - other) < 2e-5 for other in by_first) for value in expected)
    with (tmp_path / "p" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "probability", "label_2", "probability_2", "error"]
    (broken,) = [row for row in rows if row["error"]]
    assert broken["path"].endswith("broken.png")
    assert (broken["label"], broken["probability"]) == ("", "")
    assert "cannot read the image" in broken["error"]
    assert len(rows) == 17
    assert {row["label"] for row in rows} <= {"cat", "a dog", ""}
    again = nl.predict(
        nl.compose(["task=predict", *words, "predict.num_workers=2", "predict.top=1"]), run_dir=tmp_path / "again"
    )
    assert [(p.labels[:1], p.error) for p in found] == [(p.labels, p.error) for p in again]


def test_a_second_export_leaves_nothing_of_the_first(photo_run, tmp_path):
    folder = tmp_path / "e"
    nl.export(nl.compose(["task=export", f"run={photo_run}", "export.onnx=false"]), run_dir=folder)
    (folder / "network.onnx").write_text("of another network")
    (folder / "mine.txt").write_text("kept")
    nl.export(nl.compose(["task=export", f"run={photo_run}", "export.onnx=false"]), run_dir=folder)
    assert not (folder / "network.onnx").exists()
    assert (folder / "mine.txt").exists()
    assert (folder / "export.json").exists()


def test_processes_that_end_while_they_read_are_told_with_what_works(photo_run, tmp_path, monkeypatch):
    def end(paths, index):
        os.kill(os.getpid(), signal.SIGKILL)

    words = ["task=predict", "trainer=cpu", f"run={photo_run}", f"images={tmp_path / 'photos'}"]
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (16, 16), (90, 200, 10)).save(tmp_path / "photos" / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr("nas_lightning.deployment.predicting._Images.__getitem__", end)
        with pytest.raises(MachineError, match=r"main process: predict\.num_workers=0$"):
            nl.predict(nl.compose([*words, "predict.num_workers=1"]), run_dir=tmp_path / "p")
    assert len(nl.predict(nl.compose([*words, "predict.num_workers=0"]), run_dir=tmp_path / "p")) == 1


def test_an_export_predicts_like_its_run_whatever_the_images(evaluated, images_file, tmp_path):
    """Grey 8×8 arrays; as files they are read to the same pixels, larger colour photos are made to fit."""
    with np.load(images_file) as arrays:
        pixels = arrays["x_test"]
    (tmp_path / "images").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "images" / f"{index:03}.png")
    Image.new("RGB", (31, 12), (90, 200, 10)).save(tmp_path / "images" / "wide.bmp")
    data, network = original(evaluated)
    expected = outputs(network, data, torch.from_numpy(pixels)[:, None] / 255).softmax(dim=1)
    nl.export(nl.compose(["task=export", f"run={evaluated}", "export.onnx=false"]), run_dir=tmp_path / "e")
    words = ["task=predict", "trainer=cpu", f"images={tmp_path / 'images'}"]
    tables = []
    for name, source in (("a", evaluated), ("b", tmp_path / "e")):
        found = nl.predict(nl.compose([*words, f"run={source}"]), run_dir=tmp_path / name)
        tables.append((tmp_path / name / "predictions.csv").read_text())
        assert len(found) == len(pixels) + 1
        for prediction, row in zip(found, expected, strict=False):
            values, classes = row.sort(descending=True, stable=True)
            torch.testing.assert_close(torch.tensor(prediction.probabilities), values)
            assert prediction.labels == tuple(map(str, classes.tolist()))
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_the_training_images_may_be_gone(evaluated, images_file, tmp_path):
    """What was trained is told in the run folder; a run of before, without that file, needs its images."""
    run = shutil.copytree(evaluated, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    words = ["task=export", f"run={run}", "export.onnx=false"]
    assert str(images_file) in config
    (run / "config.yaml").write_text(config.replace(str(images_file), "gone.npz"))
    nl.export(nl.compose(words), run_dir=tmp_path / "new")
    (run / "network.json").unlink()
    (run / "data.json").unlink()  # it knows the absolute place
    with pytest.raises(nl.DataError, match=r"data.path=gone.npz: no such file"):
        nl.export(nl.compose(words), run_dir=tmp_path / "old")
    (run / "config.yaml").write_text(config)
    nl.export(nl.compose(words), run_dir=tmp_path / "old")
    assert (tmp_path / "old" / "network.json").read_text() == (tmp_path / "new" / "network.json").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["task=export"], r"run=null: task=export needs a run with a trained network"),
        (["task=export", "run=nowhere"], r"run=nowhere: there is no run"),
        (["task=predict", "run=nowhere"], r"images=null: .* images=FOLDER"),
        (["task=predict", "run=RUN", "images=nowhere"], r"images=nowhere: there is no such file or folder"),
        (["task=predict", "run=RUN", "images=EMPTY"], r"there are no images in it"),
        (["task=export", "run=SEARCHED"], r"only a genotype; train it with task=evaluate genotype="),
    ],
)
def test_mistakes(words, told, evaluated, searched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    names = {"SEARCHED": str(searched), "EMPTY": "empty", "RUN": str(evaluated)}
    for name, path in names.items():
        words = [word.replace(f"={name}", f"={path}") for word in words]
    task = nl.export if "task=export" in words else nl.predict
    with pytest.raises(nl.ConfigError, match=told) as caught:
        task(nl.compose([*words, "trainer=cpu"]), run_dir="here")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "here").exists()


def test_a_run_that_is_not_finished_is_named(evaluated, tmp_path):
    shutil.copytree(evaluated, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    (tmp_path / "run" / "summary.json").write_text(json.dumps({**summary, "evaluation": None}))
    with pytest.raises(nl.ConfigError, match=r"not trained to the end; continue with resume="):
        nl.export(nl.compose(["task=export", f"run={tmp_path / 'run'}"]), run_dir=tmp_path / "e")
    with pytest.raises(nl.ConfigError, match=r"the folder holds a run; choose another"):
        nl.export(nl.compose(["task=export", f"run={evaluated}"]), run_dir=evaluated)


def test_a_damaged_checkpoint_is_told_by_the_key_that_names_the_run(evaluated, tmp_path):
    shutil.copytree(evaluated, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "evaluation" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(
        nl.ConfigError, match=r"^run=.*evaluation/last\.ckpt is damaged .* resume=\S+ trains that phase"
    ):
        nl.export(nl.compose(["task=export", f"run={tmp_path / 'run'}"]), run_dir=tmp_path / "e")


def test_onnx_that_is_asked_for_needs_its_packages(monkeypatch):
    monkeypatch.setattr(onnx_files, "ONNX_PACKAGES", ("json", "no_such_package_here"))
    assert onnx_files.onnx_is_wanted(None) is False
    assert onnx_files.onnx_is_wanted(False) is False
    with pytest.raises(nl.ConfigError, match=r"needs no_such_package_here; pip install 'nas-lightning\[export\]'"):
        onnx_files.onnx_is_wanted(True)


def test_overrides_that_they_would_not_listen_to():
    check_overrides_of_another_run(["task=predict", "run=a", "images=b", "predict.top=1", "trainer=gpu"])
    for word in ("space=s2", "seed=1", "logger=x"):
        for task in ("export", "predict"):
            with pytest.raises(nl.ConfigError, match=f"task={task} uses the configuration"):
                check_overrides_of_another_run([f"task={task}", "run=a", word])


@pytest.mark.slow
def test_from_the_command_line(images_file, tmp_path):
    """Train on the digits, export, predict: three commands as a user types them."""
    from sklearn.datasets import load_digits

    (tmp_path / "images").mkdir()
    digits = load_digits()
    for index in range(100):
        pixels = np.rint(digits.images[index] / 16 * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index:03}.png")

    def command(*words):
        ended = subprocess.run(
            [sys.executable, str(ROOT / "run.py"), *words],
            capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    sizes = ["space=darts", "evaluation.init_channels=8", "evaluation.layers=4", "evaluation.epochs=5"]
    command("task=evaluate", "genotype=darts_v2", "trainer=cpu", "hydra.run.dir=run", *sizes)
    assert "largest difference" in command("task=export", "run=run", "hydra.run.dir=exported")
    told = command("task=predict", "run=exported", "images=images", "trainer=cpu", "hydra.run.dir=labels")
    assert "100 images:" in told
    with (tmp_path / "labels" / "predictions.csv").open(newline="") as file:
        right = sum(int(row["label"]) == digits.target[index] for index, row in enumerate(csv.DictReader(file)))
    assert right > 80
