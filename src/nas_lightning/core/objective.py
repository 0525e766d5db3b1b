"""The contract of objectives: the loss that is minimised and the metric that is reported.

Shapes: B images, K outputs of the network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from nas_lightning.core.part import Part

if TYPE_CHECKING:  # the command line reads goals, and must not wait for torch
    from torch import Tensor

    from nas_lightning.core.space import Kind

Direction = Literal["max", "min"]


@dataclass(frozen=True)
class Goal:
    """What is reported: a metric, its unit, and the direction in which it improves.

    Args:
        metric: Name of the metric.
        unit: Unit of the reported values; empty where there is none. A fraction is reported in %.
        direction: `max` where larger is better.
    """

    metric: str = "accuracy"
    unit: str = "%"
    direction: Direction = "max"

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> "Goal":
        """Return the goal of a run by its summary; accuracy where it does not say."""
        said = summary.get("objective") or {}
        return cls(**{key: said[key] for key in ("metric", "unit", "direction") if key in said})

    def to_dict(self) -> dict[str, Any]:
        """Return the section `objective` of a summary."""
        return asdict(self)

    @property
    def name(self) -> str:
        """Name of the metric in words."""
        return self.metric.replace("_", " ")

    @property
    def word(self) -> str:
        """Last word of the keys and columns that hold its values.

        >>> Goal().word, Goal("mean_absolute_error", "", "min").word
        ('accuracy', 'metric')
        """
        return "accuracy" if (self.unit, self.direction) == ("%", "max") else "metric"

    def key(self, part: str) -> str:
        """Return the key or column of its value on a part of the data: `val_accuracy`, `test_metric`."""
        return f"{part}_{self.word}"

    def entries(self, part: str, value: float | None) -> dict[str, float | None]:
        """Return the entries of a summary for a value; where it is no accuracy, that key is there and null.

        >>> Goal("mean_absolute_error", "", "min").entries("test", 0.5)
        {'test_accuracy': None, 'test_metric': 0.5}
        """
        key = self.key(part)
        return {f"{part}_accuracy": None, key: value}

    def value(self, section: Mapping[str, Any], part: str) -> float | None:
        """Return what `entries` put into a section of a summary; None where it is not there."""
        found = section.get(self.key(part))
        return None if found is None else float(found)

    @property
    def decline(self) -> str:
        """Word for a change to the worse."""
        return "drop" if self.direction == "max" else "rise"

    @property
    def worst(self) -> float:
        """A value that every other improves."""
        return float("-inf") if self.direction == "max" else float("inf")

    @property
    def sign(self) -> int:
        """Factor that makes larger better."""
        return 1 if self.direction == "max" else -1

    def better(self, first: float, second: float) -> float:
        """Return the better of two values."""
        return max(first, second) if self.direction == "max" else min(first, second)

    def in_unit(self, value: Any) -> Any:
        """Return the value of a torchmetrics metric, or a tensor of it, in the unit: fractions in %."""
        return 100 * value if self.unit == "%" else value

    def rounded(self, value: float) -> float:
        """Round a value for tables: to four decimals in %, else to six, and where that would lose more to six digits.

        >>> Goal().rounded(93.123456), Goal("mean_absolute_error", "m", "min").rounded(0.0001234567)
        (93.1235, 0.000123457)
        """
        if self.unit == "%" or not 0 < abs(value) < 1:  # NaN and infinity, too, are left to `round`
            return round(value, 4 if self.unit == "%" else 6)
        return round(value, max(6, 5 - math.floor(math.log10(abs(value)))))

    def number(self, value: float, decimals: int = 2) -> str:
        """Return a value without its unit, for people: so many decimals in %, else four digits.

        >>> Goal().number(93.215), Goal("mean_absolute_error", "px", "min").number(0.51237)
        ('93.22', '0.5124')
        """
        return f"{value:.{decimals}f}" if self.unit == "%" else f"{value:#.4g}".rstrip(".")

    def mean_and_std(self, mean: float, std: float | None, decimals: int = 2) -> str:
        """Return a mean with its standard deviation, if there is one, without their unit, for people.

        >>> Goal().mean_and_std(93.215, 0.3), Goal("mean_absolute_error", "px", "min").mean_and_std(0.51237, 0.01234)
        ('93.22 ± 0.30', '0.5124 ± 0.012')
        """
        if std is None:
            return self.number(mean, decimals)
        return f"{self.number(mean, decimals)} ± {f'{std:.{decimals}f}' if self.unit == '%' else f'{std:.2g}'}"

    def shown(self, value: float) -> str:
        """Return a value with its unit, for people.

        >>> Goal().shown(93.215), Goal("mean_absolute_error", "px", "min").shown(0.51237)
        ('93.22 %', '0.5124 px')
        """
        return f"{self.number(value)} {self.unit}".rstrip()

    def axis(self, text: str) -> str:
        """Return the label of an axis that shows values of it.

        >>> Goal().axis("accuracy on val"), Goal("mean_absolute_error", "", "min").axis("error")
        ('accuracy on val (%)', 'error')
        """
        return f"{text} ({self.unit})" if self.unit else text

    def heading(self, text: str) -> str:
        """Return the heading of a column that shows values of it without their unit.

        >>> Goal().heading("accuracy on val"), Goal("mean_absolute_error", "", "min").heading("error")
        ('accuracy on val, %', 'error')
        """
        return f"{text}, {self.unit}" if self.unit else text


ACCURACY = Goal()


@dataclass(frozen=True)
class NumberScale:
    """What the single output of a network stands for where it predicts a number: output · `std` + `mean`.

    Args:
        mean: Mean of the training images' numbers.
        std: Their standard deviation.
        unit: Unit of the number; empty where there is none.
    """

    mean: float
    std: float
    unit: str = ""


class Objective(Part):
    """A loss that is minimised and a metric that is reported.

    Attributes:
        metric: Name of the metric.
        unit: Unit of the reported values; a metric that is a fraction is reported in %.
        direction: Direction in which the metric improves.
        has_classes: Whether the outputs are logits of classes, so that labels can be smoothed.
        inputs: Kind of data that it is for, or several.
    """

    key = "objective"
    inputs: "Kind | tuple[Kind, ...]" = "images"
    metric: str
    unit: str = "%"
    direction: Direction = "max"
    has_classes: bool = True

    @property
    def goal(self) -> Goal:
        """What is reported."""
        return Goal(self.metric, self.unit, self.direction)

    def bind(self, class_names: Sequence[str], train_labels: Any) -> None:
        """Learn the names of the classes and the labels [N] of the training images; called once, before all else.

        Raises:
            ConfigError: The labels do not suit the objective.
        """

    @property
    def number(self) -> NumberScale | None:
        """What the single output stands for; None where outputs are logits of classes."""
        return None

    def outputs(self, num_classes: int) -> int:
        """Return K, the number of outputs of the networks, for images of so many classes."""
        return num_classes

    def loss(self, outputs: Any, targets: "Tensor", label_smoothing: float = 0.0) -> "Tensor":
        """Return the scalar loss of `outputs` for `targets`: of images [B, K] and [B], else see `core.batches`."""
        raise NotImplementedError

    def training_loss(self, outputs: Any, targets: "Tensor", label_smoothing: float = 0.0) -> "Tensor":
        """Return the scalar loss that steps on the weights descend: `loss`, and what only regularises training.

        Architecture steps, validation, curvature and virtual steps take `loss`. Where both levels share one backward
        pass (`search.arch.images=train`), the architecture descends this, too.
        """
        return self.loss(outputs, targets, label_smoothing)

    def weight(self, targets: "Tensor") -> int:
        """Return what a batch counts in a mean of losses: the number of its images, or of what else is predicted."""
        return len(targets)

    def new_metric(self) -> Any:
        """Return a fresh torchmetrics metric; its value times 100 is reported where the unit is %."""
        raise NotImplementedError
