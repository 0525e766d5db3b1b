"""Methods on recurrent cells: they run, or they are refused."""

import pytest

import nas_lightning as nl
from every_method import METHODS, QUICK, REFUSED, STEERED

TEXT = [
    "data.train_tokens=800", "data.valid_tokens=400", "data.test_tokens=300", "data.bptt=4", "data.val_columns=4",
    "data.test_columns=4", "trainer=cpu", "search.epochs=2", "search.batch_size=60", "search.hidden=4",
    "evaluation.epochs=1", "evaluation.hidden=4", "evaluation.batch_size=20", "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=2",
]  # fmt: skip


def run(method, folder, *words, space="recurrent"):
    steered = [] if method in STEERED else ["~callbacks.curvature"]
    config = nl.compose([f"space={space}", *TEXT, f"method={method}", *QUICK.get(method, []), *steered, *words])
    if (method, space) in REFUSED and not words:
        with pytest.raises(nl.ConfigError, match=REFUSED[method, space]):
            nl.search(config, run_dir=folder)
        return None
    result = nl.search(config, run_dir=folder)
    nl.build_space(config).validate(result.genotype)
    assert result.summary["objective"] == {"metric": "perplexity", "unit": "", "direction": "min"}
    assert result.summary["search"]["val_accuracy"] is None
    return result


@pytest.mark.parametrize("method", ["gdas", "sgas", "rs_ws", "pc_darts", "darts_es"])
def test_methods_of_every_kind(method, tmp_path):
    """All methods are in `make test-all`."""
    run(method, tmp_path / "run")


@pytest.mark.parametrize("method", ["darts_es", "darts_ada"])
def test_the_curvature_steers_a_search_of_first_order(method, tmp_path):
    result = run(method, tmp_path / "run", "hypergradient=first_order")
    assert result.summary["search"]["dominant_eigenvalue"] is not None


@pytest.mark.slow
@pytest.mark.parametrize("space", ["recurrent", "recurrent_reduced"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method(method, space, tmp_path):
    run(method, tmp_path / "run", space=space)
