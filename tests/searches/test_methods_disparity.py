"""Methods in the disparity space: they run, their worst option has the largest error, or they are refused."""

import csv
import json
import re

import pytest

import nas_lightning as nl
from every_method import METHODS, QUICK, REFUSED, STEERED
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task

PAIRS = [
    "data=scenes", "data.height=16", "data.width=32", "data.max_disparity=8", "data.layers=2", "data.train_pairs=10",
    "data.test_pairs=3", "space.max_displacement=4", "trainer=cpu", "search.epochs=1", "search.batch_size=2",
    "search.init_channels=2", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1",
]  # fmt: skip


FULL = ["data.height=64", "data.width=128", "evaluation.init_channels=16"]
"""The released structure halves images six times."""


def run(method, folder, *words, space="disparity"):
    steered = [] if method in STEERED else ["~callbacks.curvature"]
    brief = ["evaluation.epochs=1", "evaluation.init_channels=2", *(FULL if space == "disparity_full" else [])]
    config = nl.compose(
        [*PAIRS, f"method={method}", f"space={space}", *QUICK.get(method, []), *brief, *steered, *words]
    )
    if (method, space) in REFUSED and not words:
        with pytest.raises(nl.ConfigError, match=REFUSED[method, space]):
            nl.search(config, run_dir=folder)
        return None
    result = nl.search(config, run_dir=folder)
    nl.build_space(config).validate(result.genotype)
    return result


@pytest.mark.parametrize("method", ["gdas", "sgas", "darts_es", "pc_darts", "rdarts_dp"])
def test_methods_of_every_kind(method, tmp_path):
    """All methods are in `make test-all`."""
    run(method, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("space", ["disparity", "disparity_full"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method(method, space, tmp_path):
    run(method, tmp_path / "run", space=space)


@pytest.mark.slow
def test_perturbation_keeps_the_operation_without_which_the_error_is_largest(tmp_path, capsys):
    run("darts_pt_fixed_alpha", tmp_path / "run")
    lines = re.findall(
        r"selection: \w+, \d → \d is (\w+) \(epe without: (.*?)\)", " ".join(capsys.readouterr().out.split())
    )
    assert len(lines) == 33
    for chosen, measured in lines:
        errors = {name: float(value) for name, value in (entry.split() for entry in measured.split(", "))}
        assert errors[chosen] == max(errors.values())


@pytest.mark.slow
def test_the_best_epoch_has_the_smallest_error(tmp_path):
    words = ["search.epochs=1", "evaluation.epochs=3", "evaluation.batch_size=4", "evaluation.lr=0.3"]
    brief = ["method=darts", "evaluation.init_channels=2", "~callbacks.curvature"]
    run_task(as_dict(nl.compose([*PAIRS, *brief, *words])), RunFolder(tmp_path / "run"))
    with (tmp_path / "run/metrics.csv").open() as file:
        errors = [float(row["test_metric"]) for row in csv.DictReader(file) if row["test_metric"]]
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert len(errors) == 3
    assert summary["evaluation"]["best_epoch_metric"] == pytest.approx(min(errors), rel=1e-4)
    assert summary["evaluation"]["test_metric"] == pytest.approx(errors[-1], rel=1e-4)
