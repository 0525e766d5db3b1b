"""Classification: cross-entropy, and accuracy or the mean recall of the classes."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from nas_lightning.core.objective import Objective
from nas_lightning.core.space import Kind


class BalancedAccuracy(MulticlassConfusionMatrix):
    """Average recall over the classes that occur, as scikit-learn defines balanced accuracy.

    torchmetrics' macro average counts a class that is predicted but does not occur as recall 0, which would punish
    small validation splits without the rare classes.
    """

    def compute(self) -> Tensor:
        """Return the mean recall as a fraction."""
        matrix = super().compute()
        support = matrix.sum(dim=1)
        occurs = support > 0
        return (matrix.diagonal()[occurs] / support[occurs]).mean()


class Classification(Objective):
    """Minimise cross-entropy; report accuracy or balanced accuracy.

    Args:
        metric: `accuracy` (share of images) or `balanced_accuracy` (mean recall of the classes).
        class_weights: `balanced` weights each class by N / (K·N_class) in the loss, so rare classes count as much as
            frequent ones; `none` weights images equally.
    """

    inputs: tuple[Kind, ...] = ("images", "points")

    def __init__(
        self,
        metric: Literal["accuracy", "balanced_accuracy"] = "accuracy",
        class_weights: Literal["none", "balanced"] = "none",
    ) -> None:
        self.metric: str = metric
        self.class_weights = class_weights
        self._num_classes = 0
        self._weights: Tensor | None = None

    def bind(self, class_names: Sequence[str], train_labels: Any) -> None:
        """Set the number of classes and, for balanced weights, compute them from the training labels [N]."""
        self._num_classes = num_classes = len(class_names)
        if self.class_weights == "balanced":
            counts = torch.bincount(torch.as_tensor(train_labels), minlength=num_classes).float()
            # clamp keeps the weight of a class without training images finite.
            self._weights = counts.sum() / (num_classes * counts.clamp(min=1))

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy of logits [B, K] and labels [B]."""
        weights = None if self._weights is None else self._weights.to(outputs)
        return nn.functional.cross_entropy(outputs, targets, weight=weights, label_smoothing=label_smoothing)

    def new_metric(self) -> Metric:
        """Return a fresh metric, a fraction; it is multiplied by 100 where it is reported."""
        if self.metric == "balanced_accuracy":
            return BalancedAccuracy(num_classes=self._num_classes)
        return MulticlassAccuracy(num_classes=self._num_classes, average="micro")
