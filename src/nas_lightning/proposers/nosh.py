"""Non-uniform successive halving: a pool whose members are trained to different levels, and none of whom leaves it.

After some candidates have arrived at a level, a share of all members that now stand at it is trained on to the next
level, earlier losers among them. Budgets follow from the counts alone.

Source: Wang et al., RANK-NOSH (ICCV 2021). No code is published: the rounding, and the numbers of members
at the beginning and in a round, are those that reproduce three of its budgets (292, 5,550 and 990 epochs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from nas_lightning.core.proposer import Judged


@dataclass(frozen=True)
class Pyramid:
    """How a pool grows.

    Args:
        levels: Epochs that members of each level are trained for, ascending.
        ratio: Share of the arrivals that is trained on.
        pool: Members in the end.
        initial: Members at the beginning.
        batch: Members that join in a round.
    """

    levels: tuple[int, ...]
    ratio: float = 0.5
    pool: int = 100
    initial: int = 16
    batch: int = 8

    @property
    def rounds(self) -> list[int]:
        """Members that join in each round, the first of which begins the pool.

        >>> Pyramid((1,), pool=30).rounds
        [16, 8, 6]
        """
        found = [min(self.initial, self.pool)]
        while sum(found) < self.pool:
            found.append(min(self.batch, self.pool - sum(found)))
        return found

    def arrivals(self, joining: int) -> list[int]:
        """Return how many members arrive at each level in a round.

        >>> Pyramid((1, 2, 3, 12)).arrivals(8)
        [8, 4, 2, 1]

        Args:
            joining: Members that join in the round.
        """
        found = [joining]
        while len(found) < len(self.levels):
            found.append(promotions(found[-1], self.ratio))
        return found

    @property
    def reached(self) -> list[int]:
        """Members that ever reach each level.

        >>> Pyramid((1, 2, 3, 12)).reached
        [100, 50, 25, 13]
        """
        return [sum(level) for level in zip(*map(self.arrivals, self.rounds), strict=True)]

    @property
    def epochs(self) -> int:
        """Epochs of all trainings together.

        >>> Pyramid((1, 2, 3, 12)).epochs
        292
        """
        steps = [after - before for before, after in zip((0, *self.levels), self.levels, strict=False)]
        return sum(step * members for step, members in zip(steps, self.reached, strict=True))


def promotions(arrived: int, ratio: float) -> int:
    """Return how many members of a level are trained on after some have arrived at it: ⌊r · arrived⌋, at least one."""
    return max(1, floor(round(ratio * arrived, 9)))  # 0.29 · 100 is a little less than 29 in binary


def promoted(pool: Sequence[Judged], level: int, number: int) -> list[Judged]:
    """Return the best members that now stand at a level, the best first; of equals those proposed first.

    A member that has failed comes last.

    Args:
        pool: All members.
        level: The level, from 0 on.
        number: How many; all of the level where it has fewer.
    """
    standing = [judged for judged in pool if judged.level == level]
    return sorted(standing, key=lambda judged: (-judged.merit[1], judged.index))[:number]
