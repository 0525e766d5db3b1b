"""When the dominant eigenvalue has grown too fast (DARTS-ES: Zela et al., RobustDARTS, ICLR 2020, section 4)."""

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, validate_call


class EigenvalueStopping:
    """Stops once the smoothed eigenvalue exceeds `factor` times what it was `delta` averages before.

    The defaults are the released code's, measured every 2 epochs: an average of 5 measurements is that of its centre,
    4 epochs before the latest; it is compared with the one 8 epochs before, and the search goes back 8 epochs from
    the centre. So the first epoch at which it can stop is 22, which returns epoch 10. Averages begin where the centre
    has been measured, and until the window is full they are over all values. The paper has other numbers: see `RULES`.
    Measurements must lie on a regular grid of epochs; the released code leaves out the one after the last epoch, which
    does not.

    Growth is a ratio only between positive averages. Where the earlier one is not positive, the eigenvalue has not
    "grown by a factor" of anything: the loss was not convex in any direction, and the comparison waits for the next
    measurement (the released code divides, which stops on two negative averages that fall). A nan never stops.

    Args:
        window: Measurements in an average.
        delta: Averages between the two that are compared.
        factor: Growth that stops.
        start_epoch: First epoch that may be returned.
        offset: Epochs from the window's centre back to the epoch that is returned.

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
        """The criterion by the name of a published rule.

        Raises:
            ValueError: There is no such rule.
        """
        if name not in cls.RULES:
            raise ValueError(f"rule '{name}' is unknown; allowed: {', '.join(cls.RULES)}")
        return cls(**cls.RULES[name])

    @property
    def smoothed(self) -> list[tuple[int, float]]:
        """Centre epoch and average of each window so far."""
        return list(self._smoothed)

    def update(self, epoch: int, value: float) -> int | None:
        """Take the measurement at the end of an epoch.

        Returns:
            The epoch to go back to, or None to go on.

        Raises:
            ValueError: The epoch does not come after the latest one.
        """
        if self._epochs and epoch <= self._epochs[-1]:
            raise ValueError(f"epoch {epoch} was measured after epoch {self._epochs[-1]}: epochs must increase")
        self._epochs.append(int(epoch))
        self._values.append(float(value))
        if len(self._values) <= self.window // 2:  # the centre of the window is not measured yet
            return None
        latest = self._values[-self.window :]
        centre = self._epochs[-1 - self.window // 2]
        self._smoothed.append((centre, sum(latest) / len(latest)))
        if centre - self.offset < self.start_epoch or len(self._smoothed) <= self.delta:
            return None
        earlier, now = self._smoothed[-1 - self.delta][1], self._smoothed[-1][1]
        if earlier > 0 and now / earlier > self.factor:
            return centre - self.offset
        return None

    def state_dict(self) -> dict[str, Any]:
        """All measurements and averages so far, in plain lists."""
        return {
            "epochs": list(self._epochs),
            "values": list(self._values),
            "smoothed": [list(pair) for pair in self._smoothed],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from such a state, or go back to it."""
        self._epochs = [int(epoch) for epoch in state["epochs"]]
        self._values = [float(value) for value in state["values"]]
        self._smoothed = [(int(epoch), float(average)) for epoch, average in state["smoothed"]]
