"""Methods in the space of point clouds: they run, or they are refused in one line."""

import pytest

import nas_lightning as nl
from clouds import CLOUDS
from every_method import METHODS, run
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task


@pytest.mark.parametrize(
    "method", ["gdas", "sgas", pytest.param("darts_pt", marks=pytest.mark.slow), "pc_darts", "fair_darts", "rdarts_dp"]
)
def test_methods_of_every_kind(method, tmp_path):
    """All methods are in `make test-all`."""
    run(method, "points", CLOUDS, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method(method, tmp_path):
    run(method, "points", CLOUDS, tmp_path / "run")


@pytest.mark.parametrize("words", [[], ["search.recompute=true"]])
def test_a_run_from_search_to_test(words, tmp_path):
    config = nl.compose([*CLOUDS, "method=noisy_darts", "space=points", "trainer.limit_test_batches=1", *words])
    run_task(as_dict(config), RunFolder(tmp_path / "run"))
    summary = RunFolder(tmp_path / "run").summary()
    assert summary["evaluation"]["recipe"] == "points_digits"
    assert summary["evaluation"]["params"] > 0
    assert summary["evaluation"]["macs"] > 0
    assert 0 <= summary["evaluation"]["test_accuracy"] <= 100
