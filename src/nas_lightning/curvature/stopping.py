"""Early stopping when the dominant eigenvalue grows too fast.

Source: DARTS-ES of Zela et al., RobustDARTS (ICLR 2020), section 4, and the released code.
"""

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, validate_call


class EigenvalueStopping:
    """Stops once the smoothed eigenvalue exceeds `factor` times its value `delta` averages before.

    The defaults are the released code's, measured every 2 epochs: an average of 5 measurements belongs to its centre,
    4 epochs before the latest; it is compared with the one 8 epochs before, and the search returns to the epoch 8
    before the centre. So the first epoch at which it can stop is 22, which returns epoch 10. Averages begin when the
    centre has been measured; until the window is full they are over all values. The paper has other numbers: see
    `RULES`. Measurements must lie on a regular grid of epochs; the released code leaves out the one after the last
    epoch, which does not.

    Growth is a ratio only between positive averages. If the earlier one is not positive, the loss was not convex in
    any direction and "growth by a factor" is undefined: the comparison waits for the next measurement (the released
    code divides, which stops on two negative averages that fall). A nan never stops the search.

    Args:
        window: Measurements per average.
        delta: Averages between the two that are compared.
        factor: Ratio of the two averages above which the search stops.
        start_epoch: First epoch that may be returned.
        offset: Epochs from the centre of the window back to the epoch that is returned.

    Raises:
        ValueError: An argument is out of its range (pydantic's ValidationError).
    """

    RULES: ClassVar[dict[str, dict[str, Any]]] = {
        "released": {"window": 5, "delta": 4, "factor": 1.3, "start_epoch": 10, "offset": 8},
        "paper": {"window": 5, "delta": 5, "factor": 1 / 0.75, "start_epoch": 0, "offset": 3},
    }
    """`released`: a measurement every 2 epochs. `paper`: one every epoch, the mean λ̄(i) of the last 5, stop where
    λ̄(i−5) / λ̄(i) < 0.75 and return i − 5, which is 3 epochs before the centre i − 2."""

    @validate_call(config=ConfigDict(strict=True))
    def __init__(
        self,
        window: Annotated[int, Field(ge=1)] = 5,
        delta: Annotated[int, Field(ge=1)] = 4,
        factor: Annotated[float, Field(gt=0)] = 1.3,
        start_epoch: Annotated[int, Field(ge=0)] = 10,
        offset: Annotated[int, Field(ge=0)] = 8,
    ) -> None:
        self.window = window
        self.delta = delta
        self.factor = factor
        self.start_epoch = start_epoch
        self.offset = offset
        self._epochs: list[int] = []
        self._values: list[float] = []
        self._smoothed: list[tuple[int, float]] = []

    @classmethod
    def rule(cls, name: str) -> "EigenvalueStopping":
        """Build the criterion of a published rule, a key of `RULES`.

        Raises:
            ValueError: There is no such rule.
        """
        if name not in cls.RULES:
            raise ValueError(f"rule '{name}' is unknown; allowed: {', '.join(cls.RULES)}")
        return cls(**cls.RULES[name])

    @property
    def smoothed(self) -> list[tuple[int, float]]:
        """Return the centre epoch and the average of each window so far."""
        return list(self._smoothed)

    def update(self, epoch: int, value: float) -> int | None:
        """Add the measurement at the end of an epoch.

        Returns:
            The epoch to return to, or None to continue.

        Raises:
            ValueError: The epoch does not come after the latest one.
        """
        if self._epochs and epoch <= self._epochs[-1]:
            raise ValueError(f"epoch {epoch} was measured after epoch {self._epochs[-1]}: epochs must increase")
        self._epochs.append(int(epoch))
        self._values.append(float(value))
        if len(self._values) <= self.window // 2:  # the centre of the window has not been measured
            return None
        latest = self._values[-self.window :]
        centre = self._epochs[-1 - self.window // 2]
        self._smoothed.append((centre, sum(latest) / len(latest)))
        if centre - self.offset < self.start_epoch or len(self._smoothed) <= self.delta:
            return None
        # A division would stop on two negative averages that fall, so the sign is tested first.
        earlier, now = self._smoothed[-1 - self.delta][1], self._smoothed[-1][1]
        if earlier > 0 and now / earlier > self.factor:
            return centre - self.offset
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return all measurements and averages so far, as plain lists."""
        return {
            "epochs": list(self._epochs),
            "values": list(self._values),
            "smoothed": [list(pair) for pair in self._smoothed],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the measurements and averages of `state_dict`."""
        self._epochs = [int(epoch) for epoch in state["epochs"]]
        self._values = [float(value) for value in state["values"]]
        self._smoothed = [(int(epoch), float(average)) for epoch, average in state["smoothed"]]
