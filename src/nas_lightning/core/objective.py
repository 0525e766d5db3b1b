"""The contract of objectives: what is minimised and what is reported."""

from typing import Any, Protocol

from torch import Tensor


class Objective(Protocol):
    """What is minimised and what is reported."""

    metric: str
    unit: str
    direction: str

    def bind(self, num_classes: int, train_labels: Any) -> None:
        """Learn the number of classes and the class frequencies."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Scalar loss."""
        ...

    def new_metric(self) -> Any:
        """A fresh torchmetrics metric; its value times 100 is reported where the unit is %."""
        ...
