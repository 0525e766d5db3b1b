"""Adaptive regularisation (DARTS-ADA: Zela et al., RobustDARTS, ICLR 2020, section 5, Algorithm 1)."""

import logging
import math
from collections.abc import Sequence
from typing import Annotated, Any

import lightning as L
from pydantic import Field

from nas_lightning.control.eigenvalue_control import (
    EigenvalueControl,
    Epochs,
    Evaluations,
    Factor,
    Rule,
    tracking_of,
)
from nas_lightning.core.errors import ConfigError
from nas_lightning.searches.progress import Rollback

log = logging.getLogger(__name__)


class AdaptiveRollback(EigenvalueControl):
    """Rolls the search back to before the dominant eigenvalue grew, and continues with stronger regularisation.

    Schedules follow the search epoch, so the search still ends after `search.epochs` search epochs. At the largest
    strength further growth is ignored, as in the released code; Algorithm 1 as printed would allow one more increase
    (`maximum: 0.3`). Fixed with respect to the released code: the state of the criterion is rolled back, too, and the
    new weight decay enters the virtual step at once.

    Args:
        key: The value to strengthen: `search.weights.weight_decay`, or a regularizer's value such as
            `regularizer.drop_path.maximum`.
        multiply: Factor on it at each rollback.
        maximum: Largest value; no rollback is made that would exceed it.
        rule: As for `CurvatureStopping`, like the arguments below.
        window: Measurements averaged.
        delta: Distance of the two averages that are compared, in averages.
        factor: Growth that triggers.
        start_epoch: Earliest search epoch to roll back to.
        offset: Search epochs from the window's centre back to the one that is restored.
    """

    key = "control.adaptive_rollback"

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
        self.strengthened = key
        self.multiply = multiply
        self.maximum = maximum

    def _allowed(self, value: float) -> bool:
        return value <= self.maximum * (1 + 1e-9)  # 3e-4 times ten twice is a little more than 3e-2

    def check(self, module: Any, callbacks: Sequence[Any]) -> None:
        """Refuse a value that cannot be strengthened.

        Raises:
            ConfigError: There is no such value, it is zero, its bound or `maximum` leaves no step, or nothing measures
                the curvature.
        """
        super().check(module, callbacks)
        value = module.values.value(self.strengthened)
        if value is None:
            raise ConfigError(
                f"{self.key}.key={self.strengthened}: no value to strengthen; allowed: {', '.join(module.values.keys)}"
            )
        if value <= 0:
            raise ConfigError(
                f"{self.key}: {self.strengthened}={value} stays zero when it is multiplied; start above it,"
                f" {self.strengthened}={self.maximum / self.multiply**2:g}"
            )
        bound = module.values.bound(self.strengthened)
        if self.maximum >= bound:
            raise ConfigError(
                f"{self.key}.maximum={self.maximum}: {self.strengthened} must stay below {bound:g}; use a smaller one,"
                f" and a smaller {self.key}.multiply"
            )
        if not self._allowed(value * self.multiply):
            raise ConfigError(
                f"{self.key}.maximum={self.maximum}: {self.strengthened}={value} times {self.multiply:g} is"
                " larger, so no step could be taken; use a larger maximum or a smaller multiply"
            )

    def reach(self, module: Any, callbacks: Sequence[Any]) -> int:
        """Return how many search epochs must be kept.

        Args:
            module: The search module of a stage.
            callbacks: The measuring callbacks, one of which tracks the curvature.
        """
        # Right after a rollback the criterion may trigger again and go back as far once more, at most `steps` times.
        value = module.values.value(self.strengthened) or self.maximum
        steps = math.floor(math.log(self.maximum / value) / math.log(self.multiply) + 1e-6)
        lag = self.lag(tracking_of(callbacks, self.key).interval)
        return min(steps * lag, module.settings.epochs) + 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Request a rollback if the latest measurement triggers and the value may still grow."""
        epoch = self.feed(pl_module.curvature, pl_module.search_epoch)
        if epoch is None:
            return
        value = (pl_module.values.value(self.strengthened) or 0.0) * self.multiply
        if not self._allowed(value):
            return
        pl_module.curvature.event, pl_module.curvature.to_epoch = "rolled back", epoch
        pl_module.rollback = Rollback(epoch, {self.strengthened: value})
        log.info(
            "epoch %d: back to the end of epoch %d with %s=%g", pl_module.search_epoch, epoch, self.strengthened, value
        )
