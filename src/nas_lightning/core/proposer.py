"""The contract of proposers, which suggest the next candidates of a search without a supernet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.part import Part
from nas_lightning.core.space import SearchSpace


@dataclass(frozen=True)
class Judged:
    """A candidate as it stands.

    Args:
        genotype: Its genotype.
        level: The highest level that it is trained to, from 0 on; −1 where a screen has left it out, so that it is
            known and must not be suggested again, but nothing is known of it.
        score: Its score at that level, higher is better: the caller applies the sign of the objective. Scores of
            different levels do not compare. A candidate that has failed or was left out has −∞; NaN counts as that.
        index: Its place in the order of proposal, from 0 on.
    """

    genotype: Genotype
    level: int
    score: float
    index: int

    @property
    def merit(self) -> tuple[int, float]:
        """What candidates are ordered by: a higher level wins, at equal levels the higher score; a failed one is last.

        >>> Judged(Genotype("x"), 1, 93.0, 0).merit, Judged(Genotype("x"), 1, float("nan"), 0).merit
        ((1, 93.0), (-1, -inf))
        """
        failed = math.isnan(self.score) or self.score == -math.inf
        return (-1, -math.inf) if failed else (self.level, self.score)


def candidates_of(history: Sequence[Judged]) -> list[Judged]:
    """Return a history without what a screen has left out: that from which a proposer can learn."""
    return [judged for judged in history if judged.level >= 0]


class Proposer(Part):
    """Suggestion of candidates from what is known of the earlier ones.

    A proposer keeps no state: what it returns depends on its arguments alone, so that a run that was killed goes on as
    if it had not been. Everything random is drawn by a key of seed and number of candidates; see `core.draws`.
    """

    key = "candidates.proposer"

    def ask(self, space: SearchSpace, history: Sequence[Judged], k: int, seed: int) -> list[Genotype]:
        """Return the next k candidates: all different, and none of them in the history.

        Args:
            space: The search space.
            history: All that was suggested so far, in that order: candidates, and what a screen has left out.
            k: Number of candidates; fewer are returned only where the space has no others.
            seed: Seed of the run.
        """
        raise NotImplementedError

    def check(self, space: SearchSpace) -> None:
        """Refuse a space that the proposer cannot act in, before anything is trained.

        Raises:
            ConfigError: The space does not fit.
        """
