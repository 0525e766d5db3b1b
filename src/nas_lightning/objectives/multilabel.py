"""Several labels at once: binary cross-entropy of each, and the F1 score of all together.

Shapes: B nodes or other examples, K labels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from nas_lightning.core.objective import Objective
from nas_lightning.core.space import Kind


class MicroF1(Metric):
    """F1 score over all labels of all examples together: 2·TP / (2·TP + FP + FN), 0 where nothing is said or true.

    A label is predicted where its logit is above 0, whatever the range of the others: torchmetrics' own score takes
    logits that all lie between 0 and 1 for probabilities.
    """

    full_state_update = False
    both: Tensor
    either: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("both", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("either", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add logits and labels, 0 or 1, [B, K] each."""
        said, true = outputs > 0, targets > 0.5
        self.both += (said & true).sum()
        self.either += said.sum() + true.sum()

    def compute(self) -> Tensor:
        """Return the score as a fraction."""
        return (2 * self.both.double() / self.either.clamp(min=1)).float()


class Multilabel(Objective):
    """Minimise the binary cross-entropy of labels that do not exclude each other; report their micro-averaged F1."""

    inputs: Kind = "graphs"
    metric = "micro_f1"
    has_classes = False

    def bind(self, class_names: Sequence[str], train_labels: Any) -> None:
        """Learn nothing: each label has an output of its own."""

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean binary cross-entropy of logits [B, K] and labels, 0 or 1, [B, K]; nothing is smoothed."""
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))

    def new_metric(self) -> Metric:
        """Return a fresh metric, a fraction; it is multiplied by 100 where it is reported."""
        return MicroF1()
