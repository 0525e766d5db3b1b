"""Regression against formulas in numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from nas_lightning.core.errors import ConfigError
from nas_lightning.objectives import Regression

NAMES, LABELS = ["10", "-2.5", "4"], [0, 0, 1, 2, 2, 2]
NUMBERS = np.array([10, -2.5, 4])
TRAIN = NUMBERS[LABELS]


def outputs_and_targets(seed=0, count=40):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(count, 1))), torch.from_numpy(rng.integers(0, 3, count))


def bound(**arguments):
    objective = Regression(**arguments)
    objective.bind(NAMES, LABELS)
    return objective


@pytest.mark.parametrize("loss", ["absolute", "squared", "huber"])
def test_loss_is_the_distance_in_standard_deviations(loss):
    outputs, targets = outputs_and_targets()
    gap = outputs.numpy()[:, 0] - (NUMBERS[targets.numpy()] - TRAIN.mean()) / TRAIN.std()
    expected = {
        "absolute": np.abs(gap),
        "squared": gap**2,
        "huber": np.where(np.abs(gap) < 1, gap**2 / 2, np.abs(gap) - 0.5),
    }[loss]
    assert (np.abs(gap) < 1).any()
    assert (np.abs(gap) > 1).any()
    found = bound(loss=loss).loss(outputs, targets)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected.mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("metric", "reference"),
    [("mean_absolute_error", mean_absolute_error), ("root_mean_squared_error", root_mean_squared_error)],
)
def test_metric_is_in_the_unit_of_the_numbers(metric, reference):
    objective = bound(metric=metric, unit="years")
    outputs, targets = outputs_and_targets(1)
    meter = objective.new_metric()
    for part in (slice(0, 7), slice(7, 30), slice(30, 40)):
        meter.update(outputs[part], targets[part])
    predicted = outputs.numpy()[:, 0] * TRAIN.std() + TRAIN.mean()
    assert meter.compute().item() == pytest.approx(reference(NUMBERS[targets.numpy()], predicted), rel=1e-6)
    assert objective.goal.to_dict() == {"metric": metric, "unit": "years", "direction": "min"}


def test_a_perfect_output_has_neither_loss_nor_error():
    objective = bound()
    targets = torch.tensor([0, 1, 2])
    outputs = torch.from_numpy((NUMBERS - TRAIN.mean()) / TRAIN.std())[:, None]
    meter = objective.new_metric()
    meter.update(outputs, targets)
    assert objective.loss(outputs, targets).item() == pytest.approx(0, abs=1e-6)
    assert meter.compute().item() == pytest.approx(0, abs=1e-6)
    assert objective.predicted(outputs).tolist() == pytest.approx(NUMBERS.tolist())


def test_networks_have_one_output_however_many_classes_there_are():
    assert Regression().outputs(10) == 1


@pytest.mark.parametrize("name", ["cat", "nan", "inf", ""])
def test_a_class_that_is_no_number_is_refused(name):
    with pytest.raises(ConfigError, match=f"class '{name}'.*objective=classification"):
        Regression().bind(["1", name], [0, 1])


def test_equal_numbers_and_percent_are_refused():
    with pytest.raises(ConfigError, match="all training images have the number 3"):
        Regression().bind(["3", "4"], [0, 0])
    with pytest.raises(ConfigError, match="points"):
        Regression(unit="%")
