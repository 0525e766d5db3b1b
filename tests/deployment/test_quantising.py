"""network.int8.onnx: integers inside, float32 outside, and an accuracy measured beside float32's."""

import json

import pytest
import torch

import nas_lightning as nl
from conftest import TINY_SIZES
from exported import describe, random_network
from nas_lightning.data.preprocessing import Preprocessing
from nas_lightning.deployment import onnx_files, write_export
from nas_lightning.deployment.onnx_files import ONNX_PACKAGES, OnnxNetwork
from nas_lightning.deployment.quantising import LabelledSamples, accuracies

pytestmark = pytest.mark.xdist_group("quantising")  # in one worker, which trains once


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """Convolutions, pooling, skip connections and reductions."""
    for package in ONNX_PACKAGES:
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("digits") / "run"
    sizes = [word for word in TINY_SIZES if word.startswith("evaluation.")]
    words = ["task=evaluate", "trainer=cpu", "~callbacks.curvature", *sizes, "space=darts", "genotype=darts_v2"]
    nl.evaluate(nl.compose([*words, "data=digits", "evaluation.epochs=2"]), run_dir=folder)
    return folder


@pytest.mark.slow
def test_a_run_is_quantised_with_its_own_images(digits_run, tmp_path, capsys):
    words = ["task=export", f"run={digits_run}", "export.int8=true"]
    made = nl.export(nl.compose(words), run_dir=tmp_path / "e")
    assert json.loads((tmp_path / "e" / "export.json").read_text()) == made
    accuracy = made["accuracy"]
    summary = json.loads((digits_run / "summary.json").read_text())
    assert accuracy["files"]["network.onnx"] == pytest.approx(summary["evaluation"]["test_accuracy"], abs=0.3)
    assert abs(accuracy["files"]["network.int8.onnx"] - accuracy["files"]["network.onnx"]) < 5
    assert (accuracy["test_images"], made["calibration_images"]) == (359, 256)
    shown = " ".join(capsys.readouterr().out.split())
    assert "accuracy on 359 test images" in shown
    assert f"{accuracy['files']['network.int8.onnx']:.2f} %" in shown
    files = {"weights.pt", "network.pt2", "network.onnx", "network.int8.onnx"}
    assert made["bytes"] == {name: (tmp_path / "e" / name).stat().st_size for name in files}
    assert set(made["latency"]["files"]) == files - {"weights.pt"}
    assert all(value > 0 for value in made["latency"]["files"].values())
    assert set(made["memory"]["files"]) == {"network.onnx", "network.int8.onnx"}
    assert (made["latency"]["batch"], made["latency"]["threads"]) == (1, torch.get_num_threads())


def test_an_export_has_no_images_to_quantise_with(digits_run, tmp_path):
    nl.export(nl.compose(["task=export", f"run={digits_run}", "export.onnx=false"]), run_dir=tmp_path / "e")
    with pytest.raises(nl.ConfigError, match=r"an export has no images for export\.int8=true; give the run that"):
        nl.export(nl.compose(["task=export", f"run={tmp_path / 'e'}", "export.int8=true"]), run_dir=tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_it_needs_onnx(digits_run, tmp_path, monkeypatch):
    words = ["task=export", f"run={digits_run}", "export.int8=true"]
    with pytest.raises(nl.ConfigError, match=r"export\.int8=true: .* is made of network\.onnx; use export\.onnx=true"):
        nl.export(nl.compose([*words, "export.onnx=false"]), run_dir=tmp_path / "e")
    monkeypatch.setattr(onnx_files, "ONNX_PACKAGES", ("json", "no_such_package_here"))
    with pytest.raises(nl.ConfigError, match=r"export\.int8=true: needs no_such_package_here; .*export\.int8=false$"):
        nl.export(nl.compose(words), run_dir=tmp_path / "e")
    assert not (tmp_path / "e").exists()


@pytest.mark.slow
def test_integers_inside_and_the_same_interface_outside(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    trained = describe(Preprocessing(3, 16, 18))
    network = random_network(trained)
    images = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = trained.normalising(network)(images).argmax(1)  # those of the network: float32 has 100 %
    made = write_export(trained, network, tmp_path, True, samples=LabelledSamples(images, [(images, labels)]))
    assert made["accuracy"]["files"]["network.onnx"] == 100
    assert 80 <= made["accuracy"]["files"]["network.int8.onnx"] <= 100
    plain, whole = (onnx.load(tmp_path / name) for name in ("network.onnx", "network.int8.onnx"))
    sizes = [d.dim_param or d.dim_value for d in whole.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", 3, 16, 16]
    about = {entry.key: entry.value for entry in whole.metadata_props}
    assert about.pop("quantisation") == "int8, static, QDQ"
    assert about == {entry.key: entry.value for entry in plain.metadata_props}
    convolutions = [node for node in whole.graph.node if node.op_type == "Conv"]
    sources = {name: node.op_type for node in whole.graph.node for name in node.output}
    assert convolutions
    assert all(sources[name] == "DequantizeLinear" for node in convolutions for name in node.input[:2])
    # Near the network's outputs, but not equal to them: 7 bits of weight leave an error of a few hundredths.
    expected, found = (OnnxNetwork(tmp_path / name)(images) for name in ("network.onnx", "network.int8.onnx"))
    difference = float((found - expected).abs().mean() / expected.std())
    assert 1e-4 < difference < 0.2


def test_accuracy_counts_images_not_batches():
    batches = [(torch.eye(3)[[0, 1]], torch.tensor([0, 1])), (torch.eye(3)[[2]], torch.tensor([0]))]
    found, number = accuracies({"own": lambda x: x, "first": lambda x: torch.eye(3)[[0] * len(x)]}, batches)
    assert number == 3
    assert found == {"own": pytest.approx(200 / 3, abs=1e-4), "first": pytest.approx(200 / 3, abs=1e-4)}
