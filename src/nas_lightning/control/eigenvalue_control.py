"""Base class of the controls that follow the dominant eigenvalue: the criterion, its state, its reach."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import lightning as L
from pydantic import Field

from nas_lightning.callbacks.curvature import CurvatureTracking, Measured
from nas_lightning.core.control import Control
from nas_lightning.core.errors import ConfigError
from nas_lightning.curvature import EigenvalueStopping

log = logging.getLogger(__name__)

Rule = Literal["released", "paper"]
Evaluations = Annotated[int, Field(ge=1)]
Factor = Annotated[float, Field(gt=1)]
Epochs = Annotated[int, Field(ge=0)]


def tracking_of(callbacks: Sequence[Any], name: str) -> CurvatureTracking:
    """Return the curvature tracking among the callbacks.

    Raises:
        ConfigError: There is none, or more than one.
    """
    found = [callback for callback in callbacks if isinstance(callback, CurvatureTracking)]
    if len(found) > 1:
        raise ConfigError(f"{name} follows one curvature tracking, callbacks has {len(found)}; keep one")
    if found:
        return found[0]
    raise ConfigError(f"{name} needs the curvature; keep callbacks.curvature, leave out ~callbacks.curvature")


class EigenvalueControl(Control, L.Callback):
    """An `EigenvalueStopping` criterion fed with measurements on the grid; a rollback restores its state, too.

    Args:
        rule: Which published rule: `released` or `paper`.
        window: Measurements averaged; None takes the value of the rule, as for the arguments below.
        delta: Distance of the two averages that are compared, in averages.
        factor: Growth that triggers.
        start_epoch: Earliest search epoch to go back to.
        offset: Search epochs from the window's centre back to the one that is restored.
    """

    goes_back = True

    def __init__(
        self,
        rule: Rule = "released",
        window: Evaluations | None = None,
        delta: Evaluations | None = None,
        factor: Factor | None = None,
        start_epoch: Epochs | None = None,
        offset: Epochs | None = None,
    ) -> None:
        given = {"window": window, "delta": delta, "factor": factor, "start_epoch": start_epoch, "offset": offset}
        self.values = {**EigenvalueStopping.RULES[rule], **{key: v for key, v in given.items() if v is not None}}
        self.rule = rule
        self.own = any(value is not None for value in given.values())
        self.criterion = EigenvalueStopping(**self.values)

    def feed(self, measured: Measured | None, epoch: int) -> int | None:
        """Return the epoch to go back to if the latest measurement triggers; None without one or off the grid."""
        # The measurement after the last epoch may be off the grid: averages over unequal distances are not the rule's.
        if measured is None or not measured.on_grid:
            return None
        known = len(self.criterion.smoothed)
        found = self.criterion.update(epoch, measured.dominant_eigenvalue)
        if len(self.criterion.smoothed) > known:
            measured.smoothed = self.criterion.smoothed[-1][1]
        return found

    def check(self, module: Any, callbacks: Sequence[Any]) -> None:
        """Refuse a rule that differs from its publication, and warn if it can never act.

        Args:
            module: The search module of a stage.
            callbacks: The measuring callbacks, one of which tracks the curvature.

        Raises:
            ConfigError: Nothing measures the curvature, the paper's rule is not measured at every epoch, or the rule
                would return the epoch at which it triggers.
        """
        name, epochs = self.key, module.settings.epochs
        interval = tracking_of(callbacks, name).interval
        published = {"paper": 1, "released": 2}[self.rule]
        if self.rule == "paper" and interval != published and not self.own:
            raise ConfigError(
                f"callbacks.curvature.interval={interval}: {name}.rule=paper needs a measurement at every epoch; use"
                " callbacks.curvature.interval=1"
            )
        if self.lag(interval) < 1:
            raise ConfigError(f"{name}.offset=0: the restored epoch would be the current one; use {name}.offset=1")
        if interval != published and not self.own:
            log.warning("%s: the published rule measures every %d epochs, not every %d", name, published, interval)
        # Feed exponential growth to a copy: a rule that does not act on it can never act in so few epochs.
        copy = EigenvalueStopping(**self.values)
        base = 2 * self.criterion.factor
        if all(copy.update(e, base ** min(i, 100)) is None for i, e in enumerate(range(0, epochs, interval))):
            log.warning("%s cannot act in %d search epochs: too few for its window, delta and start", name, epochs)

    def lag(self, interval: int) -> int:
        """Return the search epochs between a trigger and the epoch that is restored."""
        return (self.criterion.window // 2) * interval + self.criterion.offset

    def reach(self, module: Any, callbacks: Sequence[Any]) -> int:
        """Return how many search epochs must be kept for a rollback."""
        return self.lag(tracking_of(callbacks, self.key).interval) + 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the criterion."""
        return self.criterion.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the criterion, at a resume or a rollback."""
        self.criterion.load_state_dict(state_dict)
