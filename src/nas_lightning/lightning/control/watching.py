"""What controls that follow the dominant eigenvalue share: feeding the criterion, its state, its reach."""

from typing import Annotated, Any, Literal

from pydantic import Field

import lightning as L
from nas_lightning.curvature import EigenvalueStopping
from nas_lightning.errors import ConfigError
from nas_lightning.lightning.callbacks import CurvatureTracking
from nas_lightning.lightning.state import Measured

Rule = Literal["released", "paper"]
Evaluations = Annotated[int, Field(ge=1)]
Factor = Annotated[float, Field(gt=1)]
Epochs = Annotated[int, Field(ge=0)]


class EigenvalueWatch:
    """An `EigenvalueStopping` fed with what the tracking measures on its grid.

    Args:
        rule: Which published rule: `released` or `paper`.
        window: Measurements averaged; None takes the rule's own, as for the others.
        delta: Averages between the two that are compared.
        factor: Growth that triggers.
        start_epoch: First search epoch that may be gone back to.
        offset: Search epochs from the window's centre back to the one that is returned.
    """

    def __init__(
        self,
        rule: Rule,
        window: int | None,
        delta: int | None,
        factor: float | None,
        start_epoch: int | None,
        offset: int | None,
    ) -> None:
        given = {"window": window, "delta": delta, "factor": factor, "start_epoch": start_epoch, "offset": offset}
        values = {**EigenvalueStopping.RULES[rule], **{key: v for key, v in given.items() if v is not None}}
        self.criterion = EigenvalueStopping(**values)

    def feed(self, measured: Measured | None, epoch: int) -> int | None:
        """The epoch to go back to, if the latest measurement triggers; others than those on the grid do not count."""
        if measured is None or not measured.on_grid:
            return None
        known = len(self.criterion.smoothed)
        found = self.criterion.update(epoch, measured.dominant_eigenvalue)
        if len(self.criterion.smoothed) > known:
            measured.smoothed = self.criterion.smoothed[-1][1]
        return found

    def lag(self, interval: int) -> int:
        """Search epochs between a trigger and the epoch that it returns."""
        return (self.criterion.window // 2) * interval + self.criterion.offset


def tracking_of(callbacks: list[Any], name: str) -> CurvatureTracking:
    """The tracking among the callbacks.

    Raises:
        ConfigError: There is none.
    """
    for callback in callbacks:
        if isinstance(callback, CurvatureTracking):
            return callback
    raise ConfigError(f"{name} needs the curvature: keep callbacks.curvature, or add it with +callbacks=curvature")


class EigenvalueControl(L.Callback):
    """A control with a watch, whose state goes back with the search."""

    goes_back = True
    watch: EigenvalueWatch

    def state_dict(self) -> dict[str, Any]:
        """What the criterion remembers."""
        return self.watch.criterion.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from it, or go back to it."""
        self.watch.criterion.load_state_dict(state_dict)
