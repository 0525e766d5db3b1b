"""Whole runs on point clouds: two processes agree, a cut run resumes with the same bits, tasks read a run."""

import pytest

from clouds import CLOUDS
from whole_runs import READERS, cut_off_and_resumed_equals_whole, is_read_by, run, two_processes_agree


@pytest.mark.slow
def test_two_processes_end_with_equal_parameters_and_weights(tmp_path):
    two_processes_agree([*CLOUDS, "space=points"], "cell", tmp_path)


@pytest.mark.parametrize("phase", ["search", pytest.param("evaluation", marks=pytest.mark.slow)])
def test_a_cut_run_resumes_with_the_same_bits(phase, tmp_path):
    """Noise in the search, dropped paths in the retraining; points are drawn anew in each pass."""
    words = ["space=points", "method=noisy_darts", "evaluation.epochs=2", "evaluation.drop_path=0.5"]
    words = [*(word for word in CLOUDS if word != "evaluation.epochs=1"), *words]
    cut_off_and_resumed_equals_whole(words, phase, 1, tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run folder of a search and a retraining."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    words = [*(word for word in CLOUDS if "batch_size" not in word), "search.batch_size=128"]  # tasks read all clouds
    run([*words, "space=points", "trainer.limit_test_batches=1"], folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(READERS) - {"export"}))  # which is of networks that read images
def test_tasks_read_a_finished_run(name, finished, tmp_path, capsys):
    is_read_by(name, finished, tmp_path, capsys)
