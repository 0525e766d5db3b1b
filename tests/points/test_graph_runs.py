"""Whole runs on graphs: a cut run resumes with the same bits, and tasks read a finished search or say why not."""

import pytest

import nas_lightning as nl
from whole_runs import cut_off_and_resumed_equals_whole, run

pytestmark = pytest.mark.slow
RUN = [
    "space=graphs", "data=graphs_digits", "data.train_graphs=16", "data.test_graphs=4", "data.nodes=8", "trainer=cpu",
    "search.epochs=2", "search.batch_size=4", "search.init_channels=4", "evaluation.epochs=2",
    "evaluation.init_channels=4", "evaluation.batch_size=4", "evaluation.drop_path=0.2", "~callbacks.curvature",
]  # fmt: skip


@pytest.mark.parametrize("phase", ["search", "evaluation"])
def test_a_cut_run_on_graphs_resumes_with_the_same_bits(phase, tmp_path):
    cut_off_and_resumed_equals_whole([*RUN, "method=noisy_darts"], phase, 1, tmp_path)


@pytest.fixture(scope="module")
def searched_graphs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs") / "run"
    run([*RUN, "search.epochs=1", "evaluation.epochs=1"], folder)
    return folder


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["task=landscape", "landscape.steps=3", "landscape.images=2"], "landscape.csv"),
        (["task=analyse", "analysis=discretization"], "analysis.csv"),
        (["task=analyse", "analysis=spectrum"], "analysis.csv"),
        (["task=select", "selector=perturbation", "selector.tune_epochs=0", "selector.epochs=0"], "genotype.json"),
        (["task=report"], "report.html"),
    ],
    ids=lambda words: words[-1] if isinstance(words, list) else "",
)
def test_tasks_that_read_a_search_on_graphs(searched_graphs, words, file, tmp_path):
    key = "runs" if words[0] == "task=report" else "run"
    run([*words, f"{key}='{searched_graphs}'", "trainer=cpu"], tmp_path / "task")
    assert (tmp_path / "task" / file).is_file()


def test_an_export_of_a_run_on_graphs_is_refused_in_one_line(searched_graphs, tmp_path):
    with pytest.raises(
        nl.ConfigError, match=r"GraphTraining wrote no network\.json, which only trainings on images do"
    ):
        run(["task=export", f"run='{searched_graphs}'", "trainer=cpu"], tmp_path / "refused")
