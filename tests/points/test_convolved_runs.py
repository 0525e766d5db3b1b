"""Whole runs on point clouds and graphs: two processes agree, a cut run resumes to the bit, tasks read a run."""

import pytest

from convolved import CONVOLVED
from whole_runs import READERS, cut_off_and_resumed_equals_whole, is_read_by, run, two_processes_agree


@pytest.mark.slow
@pytest.mark.parametrize("space", CONVOLVED)
def test_two_processes_end_with_equal_parameters_and_weights(space, tmp_path):
    two_processes_agree([*CONVOLVED[space], "method=noisy_darts"], "cell", tmp_path)


@pytest.mark.parametrize(
    ("space", "phase"),
    [
        ("points", "search"),
        ("graphs", "evaluation"),
        pytest.param("points", "evaluation", marks=pytest.mark.slow),
        pytest.param("graphs", "search", marks=pytest.mark.slow),
    ],
)
def test_a_cut_run_resumes_with_the_same_bits(space, phase, tmp_path):
    """Noise in the search, dropped paths in the retraining; points are drawn anew in each pass."""
    words = [word for word in CONVOLVED[space] if word != "evaluation.epochs=1"]
    words += ["method=noisy_darts", "evaluation.epochs=2", "evaluation.drop_path=0.5"]
    cut_off_and_resumed_equals_whole(words, phase, 1, tmp_path)


@pytest.fixture(scope="module", params=list(CONVOLVED))
def finished(request, tmp_path_factory):
    """Run folder of a search and a retraining, in steps of many clouds: tasks read all of them."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    words = [word for word in CONVOLVED[request.param] if not word.startswith("search.batch_size")]
    steps = {"points": "search.batch_size=128", "graphs": "search.batch_size=4"}[request.param]
    run([*words, steps, "trainer.limit_test_batches=1"], folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(READERS) - {"export"}))
def test_tasks_read_a_finished_run(name, finished, tmp_path, capsys):
    is_read_by(name, finished, tmp_path, capsys)


@pytest.mark.slow
def test_an_export_is_refused_in_one_line(finished, tmp_path, capsys):
    with pytest.raises(AssertionError, match=r"wrote no network\.json, which only trainings on images do"):
        is_read_by("export", finished, tmp_path, capsys)
