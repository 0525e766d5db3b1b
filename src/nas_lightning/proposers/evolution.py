"""Regularized evolution: mutate the best of a random few of the youngest candidates.

Source: Real et al., Regularized evolution for image classifier architecture search (AAAI 2019): population 100, sample
25; the values here are those of White et al., Local search is state of the art for NAS benchmarks (UAI 2021), and of
its released code naszilla. Deviations: 30 candidates live, there 29 (it removes the oldest as soon as there are 30); a
mutation that is a candidate already is drawn anew, there it counts as a query.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import torch
from pydantic import Field

from nas_lightning.core import draws
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proposer import Judged, Proposer, candidates_of
from nas_lightning.core.space import SearchSpace
from nas_lightning.proposers.drawing import unseen

PATIENCE = 100
"""Mutations drawn for a candidate before it is drawn at random: all neighbours of the population may be known."""


class Evolution(Proposer):
    """Draws a tournament from the youngest candidates, with replacement, and mutates its winner.

    Args:
        initial: Random candidates at the beginning; None is `candidates.initial` of the run, 10 outside of one.
        population: Candidates that live: the youngest.
        tournament: Candidates of a tournament.
    """

    def __init__(
        self,
        initial: Annotated[int, Field(ge=1)] | None = None,
        population: Annotated[int, Field(ge=1)] = 30,
        tournament: Annotated[int, Field(ge=1)] = 10,
    ) -> None:
        self.initial = 10 if initial is None else initial
        self.population = population
        self.tournament = tournament

    def ask(self, space: SearchSpace, history: Sequence[Judged], k: int, seed: int) -> list[Genotype]:
        """Return random candidates up to `initial`, then mutations of winners of tournaments."""
        seen = {judged.genotype.identity for judged in history}
        tried = candidates_of(history)
        alive = tried[-self.population :]
        # More may be asked for at once than begin the search; then nothing is judged yet that could be mutated.
        random = min(k, self.initial - len(tried)) if alive else k
        found = list(islice(unseen(space, seen, seed, len(history)), max(random, 0)))
        if not alive:
            return found
        while len(found) < k:
            child = self._child(space, alive, seen, seed, len(history) + len(found))
            if child is None:
                return found
            seen.add(child.identity)
            found.append(child)
        return found

    def _child(
        self, space: SearchSpace, alive: Sequence[Judged], seen: set[str], seed: int, number: int
    ) -> Genotype | None:
        """Return candidate `number`, unknown so far; None where the space has no other."""
        for attempt in range(PATIENCE):
            rng = draws.seeded_generator(seed, "evolution", number, attempt)
            places = torch.randint(len(alive), (self.tournament,), generator=rng).tolist()
            winner = max((alive[place] for place in places), key=lambda judged: judged.merit)
            child = space.mutate(winner.genotype, rng)
            if child.identity not in seen:
                return child
        return next(unseen(space, seen, seed, number), None)
