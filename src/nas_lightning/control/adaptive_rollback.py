"""Adaptive regularisation (DARTS-ADA: Zela et al., RobustDARTS, ICLR 2020, section 5, Algorithm 1)."""

import logging
import math
from typing import Annotated, Any

from pydantic import Field

import lightning as L
from nas_lightning.control.eigenvalue_control import (
    EigenvalueControl,
    Epochs,
    Evaluations,
    Factor,
    Rule,
    tracking_of,
)
from nas_lightning.core.errors import ConfigError
from nas_lightning.search.state import Rollback, adjustable_keys, bound_of, value_of

log = logging.getLogger(__name__)


class AdaptiveRollback(EigenvalueControl):
    """Goes back before the dominant eigenvalue grew, and on from there with stronger regularisation.

    The schedules are those of the search epoch, so the search still ends after `search.epochs` search epochs. At the
    largest strength further growth is ignored, as in the released code; Algorithm 1 as printed would allow one more
    increase (`maximum: 0.3`). Mended against the released code: what the criterion remembers goes back too, and the
    new weight decay holds in the virtual step at once.

    Args:
        key: What is strengthened: `search.weights.weight_decay`, or a regularizer's value such as
            `regularizer.drop_path.maximum`.
        multiply: Factor on it at each rollback.
        maximum: Largest value; a step beyond it is not taken.
        rule: As for `CurvatureStopping`, as are the others.
        window: Measurements averaged.
        delta: Averages between the two that are compared.
        factor: Growth that triggers.
        start_epoch: First search epoch that may be gone back to.
        offset: Search epochs from the window's centre back to the one that is gone back to.
    """

    name = "control.adaptive_rollback"

    def __init__(
        self,
        key: str = "search.weights.weight_decay",
        multiply: Annotated[float, Field(gt=1)] = 10.0,
        maximum: Annotated[float, Field(gt=0)] = 3e-2,
        rule: Rule = "released",
        window: Evaluations | None = None,
        delta: Evaluations | None = None,
        factor: Factor | None = None,
        start_epoch: Epochs | None = None,
        offset: Epochs | None = None,
    ) -> None:
        super().__init__(rule, window, delta, factor, start_epoch, offset)
        self.key = key
        self.multiply = multiply
        self.maximum = maximum

    def _allowed(self, value: float) -> bool:
        return value <= self.maximum * (1 + 1e-9)  # 3e-4 times ten twice is a little more than 3e-2

    def check(self, module: Any, callbacks: list[Any]) -> None:
        """Refuse what cannot be strengthened.

        Raises:
            ConfigError: There is no such value, it is zero, or nothing measures the curvature.
        """
        super().check(module, callbacks)
        value = value_of(module, self.key)
        if value is None:
            raise ConfigError(
                f"control.adaptive_rollback.key={self.key}: no value to strengthen; allowed:"
                f" {', '.join(adjustable_keys(module))}"
            )
        if value <= 0:
            raise ConfigError(
                f"control.adaptive_rollback: {self.key}={value} stays zero when it is multiplied; start above it,"
                f" {self.key}={self.maximum / self.multiply**2:g}"
            )
        bound = bound_of(module, self.key)
        if self.maximum >= bound:
            raise ConfigError(
                f"control.adaptive_rollback.maximum={self.maximum}: {self.key} must stay below {bound:g}; use a smaller"
                f" one, and a smaller control.adaptive_rollback.multiply"
            )
        if not self._allowed(value * self.multiply):
            raise ConfigError(
                f"control.adaptive_rollback.maximum={self.maximum}: {self.key}={value} times {self.multiply:g} is above"
                " it, so no step could be taken; use a larger maximum or a smaller multiply"
            )

    def reach(self, module: Any, callbacks: list[Any]) -> int:
        """Search epochs that must be kept: right after a rollback the next one may go back as far again."""
        value = value_of(module, self.key) or self.maximum
        steps = math.floor(math.log(self.maximum / value) / math.log(self.multiply) + 1e-6)
        lag = self.lag(tracking_of(callbacks, self.name).interval)
        return min(steps * lag, module.settings.epochs) + 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Decide on the latest measurement."""
        epoch = self.feed(pl_module.curvature, pl_module.search_epoch)
        if epoch is None:
            return
        value = (value_of(pl_module, self.key) or 0.0) * self.multiply
        if not self._allowed(value):
            return
        pl_module.curvature.event, pl_module.curvature.to_epoch = "rolled back", epoch
        pl_module.rollback = Rollback(epoch, {self.key: value})
        log.info("epoch %d: back to the end of epoch %d with %s=%g", pl_module.search_epoch, epoch, self.key, value)
