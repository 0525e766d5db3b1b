"""Random search with weight sharing: compare random paths by their one-shot accuracy.

Source: Li & Talwalkar, Random search and reproducibility for NAS (UAI 2019), section 3.3 and supplement; the number of
candidates and the two passes are those of the released code. Unlike there, all candidates use the same batches unless
`fresh_batches` is set (the released code continues one iterator, so that part of the ranking is due to batches), and
a path that is drawn twice is scored once and is one finalist.
As RSPS in NAS-Bench-201 (Dong & Yang, ICLR 2020, and its released code): candidates=100, finalists=0,
fresh_batches=true, and one batch of 512 images each, batches=1 and batch_size=512.
"""

from typing import Annotated

from pydantic import Field

from nas_lightning.core import draws
from nas_lightning.core.choices import Mixing
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import BatchNormMode, OneShot
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace
from nas_lightning.selectors.paths import batches_of, score_path
from nas_lightning.spaces.sampling import sample_path

Key = tuple[bytes, ...]


class RandomSearch(Selector):
    """Scores random paths on a few batches of `val`, then the best of them on all of it, and keeps the best.

    Args:
        candidates: Paths sampled per round.
        finalists: Number of candidates scored on all of `val`; of equals the one sampled first. 0: the best on the few
            batches wins.
        batches: Batches of `val` to score each candidate.
        rounds: Rounds, each with fresh paths; max(1, ⌊steps of the search / 10000⌋) in the released code.
        best_over_rounds: Return the best winner of all rounds, as in the supplement; otherwise that of the first
            round, as released, and skip the other rounds, which have no effect there.
        none: Sample the operation `none` like any other; None follows the relaxation.
        fresh_batches: Score each candidate on different batches, consecutive in the order of `val`, instead of all on
            the first ones.
        batch_norm: Statistics of batch normalisation while scoring: `eval`, running, as released for the space of
            DARTS, or `train`, of the batch.
        batch_size: Images per batch while scoring; None is `search.batch_size`.

    Raises:
        ConfigError: More finalists than candidates.
    """

    def __init__(
        self,
        candidates: Annotated[int, Field(ge=1)] = 1000,
        finalists: Annotated[int, Field(ge=0)] = 10,
        batches: Annotated[int, Field(ge=1)] = 10,
        rounds: Annotated[int, Field(ge=1)] = 1,
        best_over_rounds: bool = True,
        none: bool | None = None,
        fresh_batches: bool = False,
        batch_norm: BatchNormMode = "eval",
        batch_size: Annotated[int, Field(ge=1)] | None = None,
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
        self.fresh_batches = fresh_batches
        self.batch_norm: BatchNormMode = batch_norm
        self.batch_size = batch_size

    def __call__(self, space: SearchSpace, strengths: Mixing) -> None:
        """Return None: the strengths determine no genotype."""
        return

    def val_batches(self, space: SearchSpace, number: int) -> int:
        """Return the largest number of batches evaluated, of `number` in `val`; equal paths are scored once."""
        return self.rounds * (self.candidates * min(self.batches, number) + self.finalists * number)

    def select(self, one_shot: OneShot) -> Genotype:
        """Return the genotype of the path with the best metric on all of `val`, or on the few batches if `finalists=0`.

        Of equals the earlier round wins, then the better one on the few batches, as released. Draws depend on seed,
        round and index only, so more candidates start with the same ones.
        """
        paths: dict[Key, Mixing] = {}
        few: dict[Key, float] = {}  # metric by path: every path is scored once on the few batches …
        full: dict[Key, float] = {}  # … and once at most on all of `val`
        for number in range(self.rounds):
            part = f", round {number + 1} of {self.rounds}" if self.rounds > 1 else ""
            drawn: dict[Key, None] = {}  # the distinct paths of this round, first drawn first
            for index in one_shot.track(range(self.candidates), f"random search{part}"):
                path = self._draw(one_shot, number, index)
                key = tuple(weights.cpu().numpy().tobytes() for weights in path.values())
                drawn[key] = None
                if key not in few:
                    paths[key] = path
                    batches = batches_of(number * self.candidates + index, self.batches, self.fresh_batches)
                    few[key] = score_path(one_shot, path, batches, self.batch_norm)
            if self.finalists:
                best = sorted(drawn, key=few.__getitem__, reverse=True)[: self.finalists]  # stable, also in reverse
                for key in one_shot.track(best, f"finalists on all of val{part}"):
                    if key not in full:
                        full[key] = score_path(one_shot, paths[key], None, self.batch_norm)
        deciding = full if self.finalists else few
        return one_shot.space.genotype_of(paths[max(deciding, key=deciding.__getitem__)])  # the first of equals

    def _draw(self, one_shot: OneShot, number: int, index: int) -> Mixing:
        """Sample a candidate of a round among the options that the search has left open."""
        rng = draws.seeded_generator(one_shot.seed, "random search", number, index)
        none = one_shot.relaxation.none if self.none is None else self.none
        if one_shot.decisions is None or one_shot.decisions.open:
            return one_shot.space.sample(rng, none)
        return sample_path(one_shot.space.choices, rng, none, one_shot.decisions.kept)
