"""A proposer for tests of the pool: independent draws, and a judge of nothing."""

from nas_lightning.core.draws import seeded_generator
from nas_lightning.core.proposer import Proposer


class Drawn(Proposer):
    """Draws genotype after genotype, leaving out those that are known."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most

    def ask(self, space, history, k, seed):
        found, known = [], [one.genotype for one in history]
        for index in range(len(known), self.most):
            if len(found) == k:
                break
            one = space.genotype_of(space.sample(seeded_generator(seed, "random genotype", index), none=False))
            if one not in known and one not in found:
                found.append(one)
        return found
