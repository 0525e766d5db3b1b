"""The contract of objectives: the loss that is minimised and the metric that is reported."""

from typing import Any, Protocol

from torch import Tensor


class Objective(Protocol):
    """A loss that is minimised and a metric that is reported.

    Attributes:
        metric: Name of the metric.
        unit: Unit of the reported values.
        direction: Direction in which the metric improves.
    """

    metric: str
    unit: str
    direction: str

    def bind(self, num_classes: int, train_labels: Any) -> None:
        """Set the number of classes and the class frequencies, from the labels of the training images."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the scalar loss of `outputs` [B, K] for `targets` [B]."""
        ...

    def new_metric(self) -> Any:
        """Return a fresh torchmetrics metric; its value times 100 is reported where the unit is %."""
        ...
