"""Convergence in the plainest sense: nothing better has come for some epochs."""


class Patience:
    """Remembers the best value and how long ago it was.

    Args:
        epochs: So many epochs without a better value are the end.

    Attributes:
        best: The largest value so far.
        waited: Epochs since.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.best = float("-inf")
        self.waited = 0

    def update(self, value: float) -> bool:
        """Take the value of the next epoch; says whether it is the end.

        >>> patience = Patience(2)
        >>> [patience.update(value) for value in (1.0, 2.0, 2.0, 1.5)], patience.best
        ([False, False, False, True], 2.0)
        """
        better = value > self.best
        self.best = value if better else self.best
        self.waited = 0 if better else self.waited + 1
        return self.waited >= self.epochs
