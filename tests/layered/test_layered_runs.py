"""Whole runs in a space of layers: two processes agree, a cut run resumes with the same bits, tasks read a run."""

import json

import pytest

import nas_lightning as nl
from layered_toy import SMALLEST
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task
from whole_runs import READERS, cut_off_and_resumed_equals_whole, is_read_by, two_processes_agree


@pytest.fixture
def small(tiny):
    return [*tiny, "space=mobilenet_small", *SMALLEST]


@pytest.mark.slow
def test_two_processes_end_with_equal_parameters_and_weights(small, tmp_path):
    two_processes_agree([*small, "search.batch_size=5", "method=noisy_darts"], "layers", tmp_path)


@pytest.mark.parametrize("phase", [pytest.param("search", marks=pytest.mark.slow), "evaluation"])
def test_a_cut_run_resumes_with_the_same_bits(phase, small, tmp_path):
    """Noise in the search, stochastic depth in the retraining."""
    words = [*small, "method=noisy_darts", "evaluation.drop_path=0.5"]
    cut_off_and_resumed_equals_whole(words, phase, 1, tmp_path)
    cut = tmp_path / "cut"
    evaluated = json.loads((cut / "summary.json").read_text())["evaluation"]
    assert evaluated["params"] > 0
    assert "init_channels" not in evaluated
    assert (cut / "plots/cell_layers.svg").exists()


@pytest.fixture(scope="module")
def finished(images_file, tmp_path_factory):
    """Run folder of a search and a retraining."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    words = ["data=arrays", f"data.path={images_file}", "space=mobilenet_small", "trainer=cpu", *SMALLEST]
    brief = [
        "search.epochs=1",
        "search.batch_size=10",
        "evaluation.batch_size=10",
        "evaluation.epochs=1",
        "evaluation.cutout=2",
        "~callbacks.curvature",
    ]
    run_task(as_dict(nl.compose([*words, *brief])), RunFolder(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_tasks_read_a_finished_run(name, finished, tmp_path, capsys):
    is_read_by(name, finished, tmp_path, capsys)
