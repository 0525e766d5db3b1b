"""Methods in the spaces of point clouds and of graphs: they run, or they are refused in one line."""

import pytest

import nas_lightning as nl
from convolved import CONVOLVED
from every_method import CONVOLUTIONS, METHODS, run
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task


def run_in(method, space, folder):
    run(method, space, CONVOLVED[space], folder / "run")


@pytest.mark.parametrize(
    "method", ["gdas", "sgas", pytest.param("darts_pt", marks=pytest.mark.slow), "pc_darts", "fair_darts", "rdarts_dp"]
)
def test_methods_of_every_kind(method, tmp_path):
    """All methods are in `make test-all`."""
    run_in(method, "points", tmp_path)


@pytest.mark.parametrize("method", ["sgas", "drnas", "sdarts_rs", "gdas"])
def test_methods_of_every_kind_on_graphs(method, tmp_path):
    """Decisions, draws, perturbations and sampled paths."""
    run_in(method, "graphs", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("space", CONVOLUTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method(method, space, tmp_path):
    run_in(method, space, tmp_path)


@pytest.mark.parametrize(
    ("space", "words", "trained_on"),
    [
        ("points", [], 2 * 8),
        ("points", ["search.recompute=true"], 2 * 8),
        ("graphs", [], 2 * 4 * 8),  # nodes
        ("graphs", ["search.recompute=true", "evaluation.drop_path=0.2"], 2 * 4 * 8),
    ],
)
def test_a_run_from_search_to_test(space, words, trained_on, tmp_path):
    given = [*CONVOLVED[space], "method=noisy_darts", "trainer.limit_test_batches=1", *words]
    run_task(as_dict(nl.compose(given)), RunFolder(tmp_path / "run"))
    summary = RunFolder(tmp_path / "run").summary()
    assert summary["objective"]["metric"] == {"points": "accuracy", "graphs": "micro_f1"}[space]
    assert summary["evaluation"]["recipe"] == f"{space}_digits"
    assert summary["evaluation"]["images"] == trained_on
    assert summary["evaluation"]["params"] > 0
    assert summary["evaluation"]["macs"] > 0
    assert 0 <= summary["evaluation"]["test_accuracy"] <= 100
