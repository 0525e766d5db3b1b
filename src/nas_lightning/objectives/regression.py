"""Regression: predict the number that names a class, such as a grade, an age or a count.

Shapes: B images.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.objective import Direction, NumberScale, Objective
from nas_lightning.core.space import Kind

_LOSSES = {"absolute": nn.functional.l1_loss, "squared": nn.functional.mse_loss, "huber": nn.functional.smooth_l1_loss}


class Regression(Objective):
    """Minimise the distance to the number that names the class of an image; report it in that number's unit.

    Classes are numbers where their order means something: folders `0`, `1`, `2` of a severity, `18`, `19`, … of an age.
    A network has one output. It predicts the number minus the mean of the training images, divided by their standard
    deviation, so that rates suit numbers of any size.

    Args:
        metric: `mean_absolute_error` or `root_mean_squared_error` over the images.
        loss: Distance in standard deviations: `absolute`, `squared`, or `huber`, squared below one and absolute above.
        unit: Unit of the numbers, such as `years`; empty where there is none.
    """

    inputs: tuple[Kind, ...] = ("images", "points")
    direction: Direction = "min"
    has_classes = False

    def __init__(
        self,
        metric: Literal["mean_absolute_error", "root_mean_squared_error"] = "mean_absolute_error",
        loss: Literal["absolute", "squared", "huber"] = "huber",
        unit: str = "",
    ) -> None:
        if unit == "%":
            raise ConfigError(f"{self.key}.unit=%: a fraction is reported in percent; use {self.key}.unit=points")
        self.metric: str = metric
        self.unit: str = unit
        self._distance = _LOSSES[loss]
        self._values = torch.zeros(0)
        self._mean, self._std = 0.0, 1.0

    def bind(self, class_names: Sequence[str], train_labels: Any) -> None:
        """Read the numbers, and take their mean and standard deviation over the training images, labels [N].

        Raises:
            ConfigError: A class is not named by a number, or all training images have the same.
        """
        self._values = torch.tensor([self._number(str(name)) for name in class_names])
        values = self._values[torch.as_tensor(train_labels)].double()
        self._mean, self._std = float(values.mean()), float(values.std(correction=0))
        if self._std == 0:
            raise ConfigError(f"{self.key}: all training images have the number {self._mean:g}; nothing can be learnt")

    def _number(self, name: str) -> float:
        try:
            number = float(name)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(
                f"{self.key}: it predicts the number that names a class, and there is a class '{name}'; name the"
                f" classes 0, 1, 2, …, or use objective=classification"
            )
        return number

    @property
    def number(self) -> NumberScale:
        """Mean and standard deviation of the numbers of the training images."""
        return NumberScale(self._mean, self._std, self.unit)

    def outputs(self, num_classes: int) -> int:
        """Return 1."""
        return 1

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean distance in standard deviations of outputs [B, 1] and labels [B]."""
        wanted = (self.wanted(targets) - self._mean) / self._std
        return self._distance(outputs.squeeze(1), wanted.to(outputs))

    def new_metric(self) -> Metric:
        """Return a fresh metric of outputs [B, 1] and labels [B], in the unit of the numbers."""
        if self.metric == "root_mean_squared_error":
            return _SquaredError(self, squared=False)
        return _AbsoluteError(self)

    def predicted(self, outputs: Tensor) -> Tensor:
        """Return the numbers [B] that outputs [B, 1] stand for."""
        return outputs.squeeze(1).float() * self._std + self._mean

    def wanted(self, targets: Tensor) -> Tensor:
        """Return the numbers [B] that labels [B] stand for."""
        self._values = self._values.to(targets.device)  # once a device: a graph must not copy them at every replay
        return self._values[targets]


class _AbsoluteError(MeanAbsoluteError):
    """Mean absolute error of the numbers that outputs and labels stand for."""

    def __init__(self, objective: Regression) -> None:
        super().__init__()
        self._objective = objective

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of outputs [B, 1] and labels [B]."""
        super().update(self._objective.predicted(preds), self._objective.wanted(target))


class _SquaredError(MeanSquaredError):
    """Root of the mean squared error, likewise."""

    def __init__(self, objective: Regression, squared: bool) -> None:
        super().__init__(squared=squared)
        self._objective = objective

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of outputs [B, 1] and labels [B]."""
        super().update(self._objective.predicted(preds), self._objective.wanted(target))
