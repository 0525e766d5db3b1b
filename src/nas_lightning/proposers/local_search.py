"""Local search: go from the best of a few random candidates to better neighbours, and begin anew at a local maximum.

Source: White et al., Local search is state of the art for NAS benchmarks (UAI 2021), and its released code naszilla.
Deviation: the code compares with neighbours that are no candidates yet only, so that it can stop below a better one
that it knows; here all are compared, and the unknown ones are proposed.
"""

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Annotated

import torch
from pydantic import Field

from nas_lightning.core import draws
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.proposer import Judged, Proposer
from nas_lightning.core.space import SearchSpace
from nas_lightning.proposers.drawing import unseen


class LocalSearch(Proposer):
    """Follows the way of the search through what is known, and proposes what it meets that is not.

    What is proposed together is what the search would look at next if nothing of it were better.

    Args:
        initial: Random candidates at the beginning and after each local maximum; None is `candidates.initial` of the
            run, 10 outside of one.
        full: Go to the best of all neighbours; False: to the first better one, in random order.
    """

    def __init__(self, initial: Annotated[int, Field(ge=1)] | None = None, full: bool = False) -> None:
        self.initial = 10 if initial is None else initial
        self.full = full
        self._neighbours: dict[tuple[SearchSpace, str], list[Genotype]] = {}  # only saves time

    def ask(self, space: SearchSpace, history: Sequence[Judged], k: int, seed: int) -> list[Genotype]:
        """Return the next k genotypes that the search looks at and that are no candidates."""
        return list(islice(self._unknown(space, history, seed), k))

    def _unknown(self, space: SearchSpace, history: Sequence[Judged], seed: int) -> Iterator[Genotype]:
        """Yield what the search looks at and that is unknown, each once, as if it were not better."""
        known = {judged.genotype.identity: (place, judged) for place, judged in enumerate(history)}
        proposed: set[str] = set()
        met = 0  # candidates proposed until here: those after them were not known when the search was here
        for start in count():
            earlier = {judged.genotype.identity for judged in history[:met]} | proposed
            drawn = list(islice(unseen(space, earlier, seed, met + len(proposed)), self.initial))
            if not drawn:
                return
            here: Judged | None = None
            for one in drawn:
                if one.identity not in known:
                    proposed.add(one.identity)
                    yield one
                    continue
                place, judged = known[one.identity]
                met = max(met, place + 1)
                if judged.level >= 0 and (here is None or judged.merit > here.merit):
                    here = judged
            if proposed:
                continue  # where the search goes from here is not known yet: the next start is looked at
            step = 0
            while here is not None:
                better: Judged | None = None
                for one in self._around(space, here.genotype, seed, start, step):
                    if one.identity not in known:
                        if one.identity not in proposed:
                            proposed.add(one.identity)
                            yield one
                        continue
                    place, judged = known[one.identity]
                    met = max(met, place + 1)
                    if judged.merit > (better or here).merit:
                        better = judged
                        if not self.full:
                            break
                if proposed and self.full:
                    break  # the best of all is not known yet
                here, step = better, step + 1

    def _around(self, space: SearchSpace, genotype: Genotype, seed: int, start: int, step: int) -> Iterator[Genotype]:
        """Yield the neighbours of a genotype in random order."""
        key = (space, genotype.identity)
        if key not in self._neighbours:
            self._neighbours[key] = space.neighbours(genotype)
        around = self._neighbours[key]
        rng = draws.seeded_generator(seed, "local search", start, step)
        for place in torch.randperm(len(around), generator=rng).tolist():
            yield around[place]
