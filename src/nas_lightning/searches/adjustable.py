"""Values of the configuration that a control may change during a search."""

import math
from collections.abc import Mapping

from nas_lightning.core.regularizer import Regularizer

WEIGHT_DECAY = "search.weights.weight_decay"
"""Key of the weight decay: it regularises the inner problem, but belongs to no part."""


class AdjustableValues:
    """The weight decay and the `adjustable` values of the regularizers, by their keys in the configuration.

    Args:
        weight_decay: L2 coefficient of the weights.
        regularizers: The regularizers by name.

    Attributes:
        weight_decay: Its current value, which also enters the virtual step of an unrolled hypergradient.
    """

    def __init__(self, weight_decay: float, regularizers: Mapping[str, Regularizer]) -> None:
        self.weight_decay = weight_decay
        self._attributes = {
            f"regularizer.{name}.{attribute}": (part, attribute)
            for name, part in regularizers.items()
            for attribute in part.adjustable
        }

    @property
    def keys(self) -> list[str]:
        """The keys, the weight decay first."""
        return [WEIGHT_DECAY, *self._attributes]

    def value(self, key: str) -> float | None:
        """Return the current value of a key; None for an unknown key."""
        if key == WEIGHT_DECAY:
            return self.weight_decay
        if key not in self._attributes:
            return None
        part, attribute = self._attributes[key]
        return float(getattr(part, attribute))

    def bound(self, key: str) -> float:
        """Return the upper bound of a key, exclusive; infinity for the weight decay."""
        if key not in self._attributes:
            return math.inf
        part, attribute = self._attributes[key]
        return part.adjustable[attribute]

    def change(self, key: str, value: float) -> None:
        """Set a value; steps use it from the next epoch on, when schedules are set."""
        if key == WEIGHT_DECAY:
            self.weight_decay = value
        else:
            part, attribute = self._attributes[key]
            setattr(part, attribute, value)
