"""Several labels at once: the loss by its formula, the score against scikit-learn's."""

import pytest
import torch
from sklearn.metrics import f1_score

from cases import seeded
from nas_lightning.objectives import MicroF1, Multilabel


def drawn(nodes=40, labels=7, seed=0):
    rng = seeded(seed)
    return torch.randn(nodes, labels, generator=rng), (torch.rand(nodes, labels, generator=rng) < 0.3).float()


def test_the_loss_is_the_mean_binary_cross_entropy():
    logits, labels = drawn()
    p = torch.sigmoid(logits.double())
    expected = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    torch.testing.assert_close(Multilabel().loss(logits, labels).double(), expected, rtol=1e-6, atol=1e-7)


def test_the_loss_of_large_logits_is_finite():
    logits, labels = torch.tensor([[300.0, -300.0]]), torch.tensor([[0.0, 0.0]])
    assert float(Multilabel().loss(logits, labels)) == 150.0


def test_the_score_is_that_of_scikit_learn_over_all_batches():
    metric = Multilabel().new_metric()
    batches = [drawn(nodes, seed=nodes) for nodes in (40, 3, 17)]
    for logits, labels in batches:
        metric.update(logits, labels)
    logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert float(metric.compute()) == pytest.approx(f1_score(labels, logits > 0, average="micro"), abs=1e-7)


def score_of(*batches):
    metric = MicroF1()
    for batch in batches:
        metric.update(*batch)
    return metric.compute()


def test_parts_of_several_processes_add_up_to_the_whole():
    """Counts are added, as torchmetrics does over processes: a mean of scores would be another number."""
    parts = [drawn(nodes, seed=nodes) for nodes in (40, 3)]
    scores = [float(score_of(part)) for part in parts]
    whole = float(score_of(*parts))
    first, second = MicroF1(), MicroF1()
    first.update(*parts[0])
    second.update(*parts[1])
    first.merge_state(second)
    assert float(first.compute()) == whole
    assert sum(scores) / 2 != pytest.approx(whole, abs=1e-4)


def test_logits_between_zero_and_one_are_no_probabilities():
    metric = MicroF1()
    metric.update(torch.tensor([[0.2, 0.3]]), torch.tensor([[1.0, 0.0]]))
    assert float(metric.compute()) == pytest.approx(2 / 3)  # both are said, one is true


def test_the_score_of_nothing_said_and_nothing_true_is_zero():
    metric = MicroF1()
    metric.update(-torch.ones(3, 2), torch.zeros(3, 2))
    assert float(metric.compute()) == 0.0


def test_what_is_reported():
    objective = Multilabel()
    objective.bind(["a", "b"], [0, 0])
    goal = objective.goal
    assert (goal.metric, goal.unit, goal.direction, goal.key("test")) == ("micro_f1", "%", "max", "test_accuracy")
    assert objective.outputs(121) == 121
    assert objective.weight(torch.zeros(5, 121)) == 5
    assert not objective.has_classes
