"""Random search: the next candidates are drawn uniformly, whatever is known of the others."""

from collections.abc import Sequence
from itertools import islice

from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proposer import Judged, Proposer
from nas_lightning.core.space import SearchSpace
from nas_lightning.proposers.drawing import unseen


class Random(Proposer):
    """Draws genotypes uniformly, none twice.

    Candidates of a seed are those of `selector=random_genotype` with the same `none`, but for those that come up again.

    Args:
        none: Draw the operation `none` like any other, as publications on NAS-Bench-201 do; None: where a genotype of
            the space may hold it, as the other proposers; False as in `method=random_search`.
    """

    def __init__(self, none: bool | None = None) -> None:
        self.none = none

    def ask(self, space: SearchSpace, history: Sequence[Judged], k: int, seed: int) -> list[Genotype]:
        """Return the next k draws of the seed."""
        seen = {judged.genotype.identity for judged in history}
        return list(islice(unseen(space, seen, seed, len(history), self.none), k))
