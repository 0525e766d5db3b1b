"""An objective that is minimised, from the supernet to the summary: every choice takes the smaller value.

The images are those of `tiny`, whose classes are the numbers 0 to 3; the metric is the mean absolute error.
"""

import pytest
import torch

import nas_lightning as nl
from every_method import METHODS, run
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.one_shot import OneShotModel
from nas_lightning.sweeps.members import value_to_maximise
from nas_lightning.tasks.run import run_task

JUDGED = ("sgas_pt", "darts_es")
"""Methods that a control steers, besides those of the other tests; all of them are in `make test-all`."""


@pytest.fixture
def minimised(tiny):
    return [*tiny, "objective=regression"]


def numbers(rows, column):
    return [float(row[column]) for row in rows if row.get(column)]


def test_tables_and_summary_hold_the_error_and_no_accuracy(regressed):
    folder = RunFolder(regressed)
    summary, rows = folder.summary(), folder.read_metrics()
    assert summary["objective"] == {"metric": "mean_absolute_error", "unit": "", "direction": "min"}
    assert not [name for name in rows[0] if "accuracy" in name]
    searched, judged = summary["search"], summary["evaluation"]
    assert searched["val_accuracy"] is judged["test_accuracy"] is judged["test_error"] is None
    assert searched["val_metric"] == pytest.approx(numbers(rows, "val_metric")[-1], abs=1e-6)
    tested = numbers(rows, "test_metric")
    assert judged["test_metric"] == pytest.approx(tested[-1], abs=1e-4)
    assert judged["best_epoch_metric"] == pytest.approx(min(tested), abs=1e-4)
    assert min(tested) < max(tested)


def test_the_api_returns_the_error(minimised, regressed, tmp_path):
    result = nl.evaluate(nl.compose(minimised), genotype=str(regressed), run_dir=tmp_path / "run")
    assert result.test_accuracy is None
    assert result.test_metric == result.summary["evaluation"]["test_metric"] > 0


def test_the_candidate_with_the_smallest_error_is_kept(minimised, tmp_path):
    three = ["candidates.key=seed", "candidates.values=[3,5,7]", "candidates.epochs=1"]
    summary = run_task(as_dict(nl.compose([*minimised, *three])), RunFolder(tmp_path / "run"))
    errors = [member["val_metric"] for member in summary["candidates"]]
    assert len(set(errors)) == 3
    assert [member["chosen"] for member in summary["candidates"]] == [error == min(errors) for error in errors]
    assert all(member["val_accuracy"] is None for member in summary["candidates"])


@pytest.mark.parametrize("method", ["rs_ws", "rsps", "setn"])
def test_the_path_with_the_smallest_error_is_selected(method, minimised, tmp_path, monkeypatch):
    """Against the errors that the supernet itself gave, path by path, with the metric computed here."""
    seen = {}
    measured = OneShotModel._outputs

    def noted(self, mixing, active, batches, batch_norm, order):
        gaps = []
        for outputs, targets in measured(self, mixing, active, batches, batch_norm, order):
            gaps.append((self.module.objective.predicted(outputs) - targets).abs())
            yield outputs, targets
        words = str(self.module.space.genotype_of(mixing).cells)
        seen[batches if batches is None else "few", words] = float(torch.cat(gaps).mean())

    monkeypatch.setattr(OneShotModel, "_outputs", noted)
    few = {"rs_ws": ["selector.candidates=8", "selector.finalists=8", "selector.batches=1"]}
    words = few.get(method, ["selector.candidates=8", "selector.batches=2"])
    result = nl.search(nl.compose([*minimised, f"method={method}", *words]), run_dir=tmp_path / "run")
    full = any(batches is None for batches, _ in seen)
    errors = {words: error for (batches, words), error in seen.items() if (batches is None) == full}
    assert len(set(errors.values())) > 3
    assert errors[str(result.genotype.cells)] == min(errors.values())


def test_darts_pt_keeps_what_costs_most_and_prints_the_error(minimised, tmp_path, capsys):
    words = ["method=darts_pt", "selector.tune_epochs=1", "selector.epochs=1", "selector.batches=1"]
    nl.search(nl.compose([*minimised, *words]), run_dir=tmp_path / "run")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("selection: ") and " is " in line]
    assert lines
    for line in lines:
        kept, _, measured = line.partition(" (mean absolute error without: ")
        errors = {name: float(value) for name, value in (word.split() for word in measured.rstrip(")").split(", "))}
        assert all(error > 0 for error in errors.values())
        assert errors[kept.rpartition(" is ")[2]] == max(errors.values())


def test_sweepers_maximise_the_negated_error():
    summary = {
        "objective": {"metric": "perplexity", "unit": "", "direction": "min"},
        "search": {"val_accuracy": None, "val_metric": 80.0},
        "evaluation": {"test_accuracy": None, "test_metric": 70.0},
    }
    assert value_to_maximise(summary) == -80
    summary["evaluation"]["val_metric"] = 75.0
    assert value_to_maximise(summary) == -75
    assert value_to_maximise({"search": {"val_accuracy": 90.0}}) == 90
    assert value_to_maximise({}) is None


def test_labels_are_not_smoothed(minimised, tmp_path):
    smoothed = nl.compose([*minimised, "evaluation.label_smoothing=0.1"])
    with pytest.raises(nl.ConfigError, match=r"evaluation\.label_smoothing=0\.1.*evaluation\.label_smoothing=0"):
        run_task(as_dict(smoothed), RunFolder(tmp_path / "run"))


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in JUDGED else pytest.mark.slow) for name in METHODS]
)
def test_every_method_minimises(method, minimised, tmp_path):
    space = "nasbench201" if method == "rsps" else "s4" if method == "noisy_darts" else "s3"
    run(method, space, [*minimised, "search.layers=1"] if space == "nasbench201" else minimised, tmp_path / "run")
    assert RunFolder(tmp_path / "run").summary()["objective"]["direction"] == "min"
