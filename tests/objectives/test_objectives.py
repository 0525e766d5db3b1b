"""Objectives against explicit formulas and scikit-learn."""

import math

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from nas_lightning.objectives import Classification

LABELS = [0] * 6 + [1] * 3 + [2] * 1


def logits_and_targets(seed, classes=3, count=40):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=rng, dtype=torch.float64)
    return logits, torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), count, replacement=True, generator=rng)


def explicit_loss(logits, targets, weights, smoothing=0.0):
    """Σ_b Σ_k q_bk w_k (-log p_bk) / Σ_b w_{t_b}, with q = (1-s)·onehot + s/K, number by number."""
    total, norm = 0.0, 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        log_z = math.log(sum(math.exp(value) for value in row))
        for k, value in enumerate(row):
            q = (1 - smoothing) * (k == target) + smoothing / len(row)
            total += q * weights[k] * (log_z - value)
        norm += weights[target]
    return total / norm


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_loss_against_the_explicit_formula(class_weights, smoothing):
    objective = Classification(class_weights=class_weights)
    objective.bind("abc", LABELS)
    logits, targets = logits_and_targets(0)
    # N / (K·N_class) of 6, 3 and 1 images
    weights = [10 / 18, 10 / 9, 10 / 3] if class_weights == "balanced" else [1, 1, 1]
    loss = objective.loss(logits, targets, smoothing)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(explicit_loss(logits, targets, weights, smoothing), rel=1e-6)


def test_balanced_weights_differ_from_none_and_survive_a_missing_class():
    logits, targets = logits_and_targets(0)
    plain, balanced = Classification(), Classification(class_weights="balanced")
    plain.bind("abc", LABELS)
    balanced.bind("abc", torch.tensor(LABELS))
    assert abs(plain.loss(logits, targets) - balanced.loss(logits, targets)) > 0.01
    missing = Classification(class_weights="balanced")
    missing.bind("abc", [0, 0, 1])
    assert missing.loss(logits, targets).isfinite()
    assert missing.loss(logits[targets == 0], targets[targets == 0]).isfinite()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("metric", "reference"), [("accuracy", accuracy_score), ("balanced_accuracy", balanced_accuracy_score)]
)
def test_metric_against_scikit_learn_over_batches(metric, reference, seed):
    objective = Classification(metric=metric)
    objective.bind("abc", LABELS)
    logits, targets = logits_and_targets(seed)
    meter = objective.new_metric()
    for part in (slice(0, 7), slice(7, 30), slice(30, 40)):
        meter.update(logits[part], targets[part])
    expected = reference(targets.numpy(), logits.argmax(1).numpy())
    assert meter.compute().item() == pytest.approx(expected, rel=1e-6)
    assert (objective.metric, objective.unit, objective.direction) == (metric, "%", "max")


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur():
    # A class without an image has no recall; scikit-learn leaves it out even where it was predicted.
    objective = Classification(metric="balanced_accuracy")
    objective.bind("abc", LABELS)
    predictions, targets = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1])
    meter = objective.new_metric()
    meter.update(torch.nn.functional.one_hot(predictions, 3).double(), targets)
    assert meter.compute().item() == pytest.approx((1 + 1 / 2) / 2)


def test_each_metric_is_fresh():
    objective = Classification()
    objective.bind("ab", [0, 1])
    first = objective.new_metric()
    first.update(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    second = objective.new_metric()
    second.update(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert (first.compute().item(), second.compute().item()) == (0.0, 1.0)
