"""Convergence by patience: no better value for a number of epochs."""


class Patience:
    """Records the best value and the epochs since.

    Args:
        epochs: Epochs without a better value after which training ends.

    Attributes:
        best: Largest value so far.
        waited: Epochs since `best`.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.best = float("-inf")
        self.waited = 0

    def update(self, value: float) -> bool:
        """Add the value of the next epoch; return True if training should end.

        >>> patience = Patience(2)
        >>> [patience.update(value) for value in (1.0, 2.0, 2.0, 1.5)], patience.best
        ([False, False, False, True], 2.0)
        """
        better = value > self.best
        self.best = value if better else self.best
        self.waited = 0 if better else self.waited + 1
        return self.waited >= self.epochs
