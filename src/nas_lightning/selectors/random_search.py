"""Random search with weight sharing: drawn paths are compared with the supernet's weights.

Source: Li & Talwalkar, Random search and reproducibility for NAS (UAI 2019), section 3.3 and supplement; the number of
candidates and the two passes are those of the released code. Unlike there, all candidates see the same batches (the
released code lets one iterator run on, so that part of their order is that of the batches) and a path that is drawn
again is not scored again and takes one place among the finalists. Left out: different batches for each candidate.
"""

from typing import Annotated

from pydantic import Field

from nas_lightning import draws
from nas_lightning.errors import ConfigError
from nas_lightning.protocols import OneShot, Relaxation, SearchSpace, Tensors
from nas_lightning.spaces.choices import Mixing
from nas_lightning.spaces.genotypes import Genotype

Key = tuple[bytes, ...]


class RandomSearch:
    """Per round: score random paths on a few batches of `val`, the best of them on all of it, keep the best.

    Args:
        candidates: Paths drawn in a round.
        finalists: How many of them are scored on all of `val`; of equals the one drawn first.
        batches: Batches of `val` that all candidates are scored on.
        rounds: How often this is repeated with fresh paths; max(1, ⌊steps of the search / 10000⌋) in the released code.
        best_over_rounds: Return the best winner of all rounds, as in the supplement. Otherwise the first round's, as
            the released code does; the rounds that it then runs to no effect are not run.
        none: Whether the operation `none` is drawn like any other.

    Raises:
        ConfigError: More finalists than candidates.
    """

    def __init__(
        self,
        candidates: Annotated[int, Field(ge=1)] = 1000,
        finalists: Annotated[int, Field(ge=1)] = 10,
        batches: Annotated[int, Field(ge=1)] = 10,
        rounds: Annotated[int, Field(ge=1)] = 1,
        best_over_rounds: bool = True,
        none: bool = True,
    ) -> None:
        if finalists > candidates:
            raise ConfigError(
                f"selector.finalists={finalists}: must be at most selector.candidates={candidates};"
                f" use selector.finalists={candidates}"
            )
        self.candidates = candidates
        self.finalists = finalists
        self.batches = batches
        self.rounds = rounds if best_over_rounds else 1
        self.none = none

    def __call__(self, space: SearchSpace, relaxation: Relaxation, arch: Tensors) -> None:
        """None: the architecture parameters do not tell."""
        return

    def select(self, one_shot: OneShot) -> Genotype:
        """The genotype of the path with the best metric on all of `val`.

        Of equals the one of the earlier round, then the one that did better on the few batches, as released. The
        draws depend on the seed, the round and the index only: more candidates begin with the same ones.
        """
        space = one_shot.space
        paths: dict[Key, Mixing] = {}
        few: dict[Key, float] = {}  # metrics by path: every path is scored once on the few batches …
        full: dict[Key, float] = {}  # … and once on all of them
        for number in range(self.rounds):
            part = f", round {number + 1} of {self.rounds}" if self.rounds > 1 else ""
            drawn: dict[Key, None] = {}  # the distinct paths of this round, first drawn first
            for index in one_shot.track(range(self.candidates), f"random search{part}"):
                rng = draws.seeded_generator(one_shot.seed, "random search", number, index)
                path = space.sample(rng, self.none)
                key = tuple(weights.cpu().numpy().tobytes() for weights in path.values())
                drawn[key] = None
                if key not in few:
                    paths[key] = path
                    few[key] = _score(one_shot, path, self.batches)
            best = sorted(drawn, key=few.__getitem__, reverse=True)[: self.finalists]  # stable, also in reverse
            for key in one_shot.track(best, f"finalists on all of val{part}"):
                if key not in full:
                    full[key] = _score(one_shot, paths[key], None)
        return space.genotype_of(paths[max(full, key=full.__getitem__)])  # max keeps the first of equals


def _score(one_shot: OneShot, path: Mixing, batches: int | None) -> float:
    """Metric of a path on the first batches of `val`, with nothing computed but what is on the path."""
    device = next(iter(one_shot.arch.values())).device
    path = {name: weights.to(device) for name, weights in path.items()}
    return one_shot.accuracy(path, {name: weights > 0 for name, weights in path.items()}, batches)
