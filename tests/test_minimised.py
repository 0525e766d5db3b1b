"""An objective that is minimised, from the supernet to the summary: every choice takes the smaller value.

The images are those of `tiny`, whose classes are the numbers 0 to 3; the metric is the mean absolute error.
"""

import csv

import numpy as np
import pytest
import torch

import nas_lightning as nl
from every_method import METHODS, run
from nas_lightning.config.compose import as_dict
from nas_lightning.core import draws
from nas_lightning.evaluation.module import EvaluationModule
from nas_lightning.objectives.regression import Regression
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.one_shot import OneShotModel
from nas_lightning.sweeps.members import value_to_maximise
from nas_lightning.tasks.run import run_task

JUDGED = ("sgas_pt", "darts_es")
"""Methods that a control steers, besides those of the other tests; all of them are in `make test-all`."""

PATHS = ("rs_ws", "rsps", "setn")
"""Methods that compare single paths of the supernet."""


@pytest.fixture
def minimised(tiny):
    return [*tiny, "space.num_nodes=2", "objective=regression"]


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


@pytest.mark.slow
def test_the_candidate_with_the_smallest_error_is_kept(minimised, tmp_path):
    three = ["candidates.key=seed", "candidates.values=[3,5,7]", "candidates.epochs=1"]
    summary = run_task(as_dict(nl.compose([*minimised, *three])), RunFolder(tmp_path / "run"))
    errors = [member["val_metric"] for member in summary["candidates"]]
    assert len(set(errors)) == 3
    assert [member["chosen"] for member in summary["candidates"]] == [error == min(errors) for error in errors]
    assert all(member["val_accuracy"] is None for member in summary["candidates"])


@pytest.mark.parametrize("method", PATHS)
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


@pytest.mark.slow
def test_small_errors_keep_their_digits(minimised, tmp_path, monkeypatch):
    """Numbers 0 to 3 in another unit, 0 to 0.0003: every error is that of the first run in the other unit."""
    words = [*minimised, "candidates.key=seed", "candidates.values=[3,5]", "candidates.epochs=1", "search.epochs=1"]
    words += ["evaluation.random_baseline=2", "evaluation.random_folder=null", "evaluation.epochs=1"]

    def errors(folder):
        summary = run_task(as_dict(nl.compose(words)), RunFolder(folder))
        evaluation, members = summary["evaluation"], summary["candidates"]
        baseline = evaluation["random_baseline"]
        found = [evaluation["test_metric"], evaluation["best_epoch_metric"], baseline["mean"], baseline["std"]]
        found += [member["metric"] for member in baseline["members"]]
        found += [summary["search"]["val_metric"], *(member["val_metric"] for member in members)]
        return found, [member["chosen"] for member in members]

    plain, chosen = errors(tmp_path / "plain")
    number = Regression._number
    monkeypatch.setattr(Regression, "_number", lambda self, name: number(self, name) / 10_000)
    small, same = errors(tmp_path / "small")
    assert small == pytest.approx([error / 10_000 for error in plain], rel=1e-3, abs=0)
    assert same == chosen


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


class Errors:
    """Mean absolute errors by a loop over the images, beside what the package measures with its own metric.

    Args:
        labels: Labels of the training images, which are the numbers.

    Attributes:
        val: Of the supernet on `val`, a value each validation.
        networks: Of a trained network on its held-out images, a value each validation.
        judged: Of the supernet with chosen options, for each measurement: the package's value, and the plain one.
    """

    def __init__(self, labels):
        self.mean, self.std = labels.mean(), labels.std()
        self.val, self.networks, self.judged = [], [], []

    def of(self, batches):
        gaps = []
        for outputs, labels in batches:
            for (output,), label in zip(outputs.tolist(), labels.tolist(), strict=True):
                gaps.append(abs(self.mean + self.std * output - label))
        return sum(gaps) / len(gaps)


@pytest.fixture
def errors(images_file, monkeypatch):
    found = Errors(np.load(images_file)["y_train"])

    def supernet(module):
        for index, batch in enumerate(module.trainer.val_dataloaders):
            augmented = module.trainer.datamodule.val_is_augmented
            images, labels = module.seen(batch, f"val {index}") if augmented else batch
            with draws.keyed(module.seed, module.num_steps, f"val {index}", 0):
                yield module.supernet(images, *module.at_mean()), labels

    def network(module):
        for index, (images, labels) in enumerate(module.trainer.val_dataloaders):
            with draws.keyed(module.seed, module.num_steps, f"test {index}", 0):
                outputs = module.network(images)
            yield outputs[0] if isinstance(outputs, tuple) else outputs, labels

    def beside(kind, batches, kept):
        ended = kind.on_validation_epoch_end

        def end(self):
            kept.append(found.of(batches(self)))
            ended(self)

        monkeypatch.setattr(kind, "on_validation_epoch_end", end)

    beside(SearchModule, supernet, found.val)
    beside(EvaluationModule, network, found.networks)
    passing, measured = OneShotModel._outputs, OneShotModel.accuracy
    seen = []

    def noted(*arguments):
        for outputs, labels in passing(*arguments):
            seen.append((outputs, labels))
            yield outputs, labels

    def accuracy(*arguments, **named):
        seen.clear()
        value = measured(*arguments, **named)
        found.judged.append((value, found.of(seen)))
        return value

    monkeypatch.setattr(OneShotModel, "_outputs", noted)
    monkeypatch.setattr(OneShotModel, "accuracy", accuracy)
    return found


def searched_errors(folder):
    """Errors on `val` that the tables of a run and of its candidates hold, in the order of their validations."""
    tables = [folder, *(RunFolder(path) for path in sorted(folder.candidates.glob("*")))]
    rows = [row for table in tables for row in table.read_metrics() if row["phase"] != "evaluation"]
    return numbers(rows, "val_metric")


def check_decisions(path, errors):
    """Check that each operation decided by a measurement is the one without which the error is largest."""
    plain = [error for _, error in errors.judged]
    decided = [row for row in csv.DictReader(path.read_text().splitlines()) if row["option"] and row["measured"]]
    assert decided
    for row in decided:
        without = {name: float(value) for name, value in (word.split() for word in row["measured"].split(", "))}
        assert without[row["option"]] == max(without.values())
        for error in without.values():
            assert any(error == pytest.approx(other, rel=1e-4) for other in plain)


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in JUDGED else pytest.mark.slow) for name in METHODS]
)
def test_every_method_minimises(method, minimised, errors, tmp_path):
    """Against errors computed here; those of single paths are compared with their minimum in a test of their own."""
    space = "nasbench201" if method == "rsps" else "s3"
    if space == "nasbench201":
        minimised = [*(word for word in minimised if word != "space.num_nodes=2"), "search.layers=1"]
    run(method, space, minimised, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    summary = folder.summary()
    assert summary["objective"]["direction"] == "min"
    assert searched_errors(folder) == pytest.approx(errors.val, abs=1e-5)
    if errors.val and not summary["candidates"]:
        search = [row for row in folder.read_metrics() if row["phase"] == "search"]  # a selector's stage comes after it
        assert summary["search"]["val_metric"] == pytest.approx(errors.val[len(search) - 1], abs=1e-5)
    for value, error in errors.judged:
        assert -value == pytest.approx(error, rel=1e-4)
    if summary["candidates"]:
        members = summary["candidates"]
        assert [member["val_metric"] for member in members] == pytest.approx(errors.networks, abs=1e-5)
        best = errors.networks.index(min(errors.networks))
        assert [member["chosen"] for member in members] == [index == best for index in range(len(members))]
    if "_pt" in method:
        check_decisions(tmp_path / "run" / "decisions.csv", errors)
    else:
        assert bool(errors.judged) == (method in PATHS)
