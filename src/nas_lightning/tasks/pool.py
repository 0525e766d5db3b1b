"""Search over a pool: a proposer suggests candidates, a judge compares them, the best is kept (`candidates.proposer`).

The pool grows by generations. Each new candidate is judged at the first level; then, level by level, the best of all
that stand at a level go on to the next, as many as the share `promote` of those that have just arrived there, at least
one. Nobody leaves the pool: a candidate that was left behind competes again with later ones.

Source: Wang et al., RANK-NOSH (ICCV 2021), for levels and promotion; with one level it is the loop of evolution, local
search or BANANAS.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.progress import Progress

from nas_lightning.analyses.base import Allowance
from nas_lightning.callbacks import Cost, hardware
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import Goal
from nas_lightning.core.proposer import Judged, Proposer
from nas_lightning.core.terminal import screen
from nas_lightning.proposers.nosh import Pyramid, promoted
from nas_lightning.reports import run_title, save_genotype, save_pool
from nas_lightning.runs.pool import Event, Journal
from nas_lightning.searches.check import check_idle
from nas_lightning.searches.outcome import outcome_of_tables
from nas_lightning.spaces.engines import engine_named
from nas_lightning.tasks.judges import Judge, TrainMember, Verdict, judge_of, untrained
from nas_lightning.tasks.launched import Launcher, launcher_of
from nas_lightning.tasks.screening import screen_of
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)

Found = tuple[Genotype, dict[str, Any], dict[str, Any], list[dict[str, Any]]]


@dataclass
class Candidate:
    """A member of the pool.

    Attributes:
        genotype: Its genotype.
        generation: The generation that it joined in.
        level: The level that it stands at; -1 before it is judged.
        value: The metric at that level, in its unit; the worst of all where it is not finite.
        seconds: Seconds of its training.
        images: Images that its training has read; None where they are not known.
        regret: Its regret in the table; None without one.
    """

    genotype: Genotype
    generation: int
    level: int = -1
    value: float = 0.0
    seconds: float = 0.0
    images: int | None = 0
    regret: float | None = None


def check_pool(bench: Workbench) -> None:
    """Refuse a search over a pool that cannot run, before anything is written.

    Raises:
        ConfigError: A supernet would be trained beside it, or proposer, screen, judge and space do not fit each other.
    """
    if bench.selector.needs_supernet:
        raise ConfigError(
            f"candidates.proposer: no supernet is trained, and {type(bench.selector).__name__} of"
            f" method={bench.config.method} selects from one; use method=evolution without selector=, or"
            " method=random_search candidates.key=null candidates.values=null, or candidates.proposer=null"
        )
    check_idle(bench.config)
    proposer_of(bench).check(bench.space)
    screening = screen_of(bench)
    if screening is not None:
        screening.check()
    judge = judge_of(bench, untrained)
    judge.check()
    launcher = launcher_of(bench, judge)
    if launcher is not None:
        launcher.check()


def pyramid_of(bench: Workbench, judge: Judge) -> Pyramid:
    """Return how the pool of a run grows, which decides how many epochs are trained."""
    settings = bench.config.candidates
    return Pyramid(judge.levels, settings.promote, settings.pool, settings.initial, settings.batch)


def run_pool(bench: Workbench, train: TrainMember) -> Found:
    """Search, or go on where the journal ends.

    Args:
        bench: The workbench of the whole run.
        train: Trains or continues a member in its folder.

    Returns:
        The genotype of the best candidate; the sections `search` and `selection` of the summary; a record a candidate.

    Raises:
        Interrupted: The user stopped a candidate, or the time is over; the whole run can be resumed.
        ConfigError: A candidate could not be measured, or the journal is damaged.
    """
    pool = _Pool(bench, judge_of(bench, train), bench.folder.journal())
    with pool.progress():
        while pool.grow():
            pass
    best = pool.best()
    bench.folder.save_genotype(best.genotype)
    if ranks.is_first():
        save_genotype(best.genotype, bench.folder.plots, run_title(bench.folder.summary()))
    search = {
        "epochs": 0,  # of a supernet
        **Cost().report(),
        **hardware(bench.config.trainer),
        "engine": engine_named(bench.config.engine),
        **outcome_of_tables(bench.folder, -1),
        **bench.objective.goal.entries("val", None if pool.judge.oracle else finite(best.value)),
        "seconds": round(sum(row["seconds"] for row in pool.rows), 3),
        "images": pool.images_spent,
        "judge": pool.judge.name,
        "levels": list(pool.judge.levels),
        "epochs_spent": pool.epochs_spent,
        **({"oracle": True} if pool.judge.oracle else {}),
    }
    selection = {"seconds": 0.0, "validation_passes": 0.0, "images": 0}
    return best.genotype, search, selection, pool.records(best)


class _Pool:
    """The state of a search over a pool, and its steps: a journal holds what came of those that were taken before."""

    def __init__(self, bench: Workbench, judge: Judge, journal: Journal) -> None:
        self.bench = bench
        self.settings = bench.config.candidates
        self.judge = judge
        self.launcher = launcher_of(bench, judge)
        self.journal = journal
        self.goal: Goal = bench.objective.goal
        self.proposer = proposer_of(bench)
        self.screening = screen_of(bench)
        self.pyramid = pyramid_of(bench, judge)
        self.members: list[Candidate] = []
        self.suggested: list[tuple[Genotype, int | None]] = []  # with its index; None where the screen left it out
        self.rows: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.epochs_spent = 0
        self.images_spent: int | None = 0  # None from the first training on whose images are not known
        self._allowance = Allowance(bench)
        self._written = len(bench.folder.read_generations()) if ranks.is_first() else 0
        self._took = 0.0  # seconds of the generation: of proposals, and of trainings or else of judging
        self._new = False  # whether anything of the generation is not of before
        self._bar: Progress | None = None
        if judge.oracle:
            log.warning(
                "candidates.levels=%s: the table has no complete accuracies on val there, so those on test stand in: an"
                " oracle, which no real search has; summary.json says so under search.oracle",
                list(judge.levels),
            )

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show a bar over the pool where candidates take no time; those that are trained have bars of their own."""
        console = screen()
        if self.judge.trains or not console.is_terminal or not ranks.is_first():
            yield
            return
        with Progress(console=console) as self._bar:
            self._bar.add_task("pool", total=self.settings.pool)
            yield

    def grow(self) -> bool:
        """Go through one generation; return False where the pool is full or the space has no more."""
        generation = len(self.rows)
        self._took, self._new = 0.0, False
        fresh = self._fresh(generation, self.settings.batch if generation else self.settings.initial)
        if not fresh:
            return False
        self._judge_all(fresh)
        for level, number in enumerate(self.pyramid.arrivals(len(fresh))[1:]):
            self._judge_all([judged.index for judged in promoted(self.history(), level, number)])
        self._end_generation(generation)
        return True

    def _fresh(self, generation: int, wanted: int) -> list[int]:
        """Add the candidates that the proposer suggests; return their indices."""
        first, wanted = len(self.members), min(wanted, self.settings.pool - len(self.members))
        if wanted == 0:
            return []
        key = {"event": "proposed", "generation": generation, "index": first}
        event = self.journal.take(**key)
        if event is None:
            begun = time.perf_counter()
            # Fitted predictors may differ between machines, in the last bits, and so may scores: all take what rank 0
            # suggests, and an event has the whole generation, of which nothing is asked for twice.
            found = ranks.agreed(self._suggestions(wanted))
            if not found["genotypes"]:
                return []
            event = self._add({**key, **found}, time.perf_counter() - begun)
        self._took += event["took"]
        joining = [Genotype.from_dict(said) for said in event["genotypes"]]
        self.members += [Candidate(genotype, generation) for genotype in joining]
        index_of = {genotype.identity: first + place for place, genotype in enumerate(joining)}
        for said in event.get("suggested") or event["genotypes"]:
            genotype = Genotype.from_dict(said)
            self.suggested.append((genotype, index_of.get(genotype.identity)))
        return list(range(first, len(self.members)))

    def _suggestions(self, wanted: int) -> dict[str, Any]:
        """Return the candidates of a generation, and all that was suggested where a screen chose among it."""
        asked, space, seed = wanted, self.bench.space, self.bench.config.seed
        if self.screening is not None:
            asked *= self.screening.factor
        suggested = self.proposer.ask(space, self._known(), asked, seed)
        if self.screening is None:
            return {"genotypes": [genotype.to_dict() for genotype in suggested]}
        kept = self.screening.kept(suggested, wanted)
        return {
            "genotypes": [genotype.to_dict() for genotype in kept],
            "suggested": [genotype.to_dict() for genotype in suggested],
        }

    def _judge_all(self, indices: Sequence[int]) -> None:
        """Judge candidates that stand at one level at the level above; those that the journal lacks side by side."""
        for place, index in enumerate(indices):
            if self.launcher is not None and self.journal.at_end and len(indices) - place > 1:
                self._judge_side_by_side(self.launcher, indices[place:])
                return
            self._judge(index)

    def _judge_side_by_side(self, launcher: Launcher, indices: Sequence[int]) -> None:
        """Judge candidates side by side; the journal has them in their order, whichever ended first."""
        self._allowance.begin()
        level = self.members[indices[0]].level + 1
        found = launcher({index: self.members[index].genotype for index in indices}, level)
        for index in indices:
            self._judge(index, found[index])

    def _judge(self, index: int, known: Verdict | None = None) -> None:
        """Judge a candidate at the level above its own, or take what the journal has.

        Args:
            index: Its index.
            known: What was found already.
        """
        member, level = self.members[index], self.members[index].level + 1
        event = self.journal.take(event="judged", index=index, level=level)
        if event is None:
            found, took = self._judged_here(index, level) if known is None else (known, 0.0)
            if self.judge.trains:  # not the wall clock: that depends on what runs beside it, and on a resume
                took = max(found.seconds - member.seconds, 0.0)
            if found.value is None and found.failed is None:
                raise ConfigError(
                    f"candidates: candidate {index} has no {self.goal.name} on val; let the evaluation validate, or"
                    " give a table with all architectures"
                )
            said = {"event": "judged", "index": index, "level": level, "epochs": self.judge.levels[level]}
            event = self._add({**said, **self._told(index, found), "seconds": max(found.seconds, member.seconds)}, took)
        self._took += event["took"]
        before = self.judge.levels[level - 1] if level else 0
        self.epochs_spent += self.judge.levels[level] - before
        member.level, member.value = level, self.goal.worst if event["value"] is None else event["value"]
        images = event.get("images")  # absent from journals of before
        if self.images_spent is not None and images is not None:
            self.images_spent += images - (member.images or 0)
        else:
            self.images_spent = None
        member.seconds, member.images, member.regret = event["seconds"], images, event["regret"]
        self.events.append({**event, "value": member.value, "epochs_spent": self.epochs_spent})
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=sum(m.level >= 0 for m in self.members))

    def _judged_here(self, index: int, level: int) -> tuple[Verdict, float]:
        """Return what the judge finds of a candidate, and the seconds that it took."""
        member = self.members[index]
        if ranks.count() == 1:  # clocks of several processes differ; each training agrees on its own
            self._allowance.begin()
        begun = time.perf_counter()
        found = ranks.agreed(self.judge(index, member.genotype, level))
        return found, time.perf_counter() - begun

    def _add(self, said: dict[str, Any], took: float) -> Event:
        self._new = True
        return self.journal.add({**said, "took": round(took, 6)})

    def _told(self, index: int, found: Verdict) -> dict[str, Any]:
        """Return what the journal says of a verdict: a value that is not finite is null, with a reason."""
        value, failed = found.value, found.failed
        if failed is None and value is not None and not math.isfinite(value):
            value, failed = None, f"its {self.goal.name} is {value}"
        if failed is None:
            return {"value": value, "regret": found.regret, "images": found.images}
        log.warning("candidate %d counts as the worst: %s", index, failed)
        return {"value": None, "regret": found.regret, "images": found.images, "failed": failed}

    def _score(self, index: int) -> float:
        return self.goal.sign * self.members[index].value

    def _known(self) -> list[Judged]:
        """Return all that was suggested, as a proposer sees it: what the screen left out is known, and no more."""
        found = []
        for place, (genotype, index) in enumerate(self.suggested):
            level, score = (-1, -math.inf) if index is None else (self.members[index].level, self._score(index))
            found.append(Judged(genotype, level, score, place))
        return found

    def history(self) -> list[Judged]:
        """Return the candidates as they stand."""
        return [Judged(m.genotype, m.level, self._score(i), i) for i, m in enumerate(self.members)]

    def best(self) -> Candidate:
        """Return the candidate with the best value of those at the highest level; of equals the first.

        One that has failed is chosen only where all have.
        """
        return self.members[max(self.history(), key=lambda judged: (judged.merit, -judged.index)).index]

    def _end_generation(self, generation: int) -> None:
        """Add the row of the generation; write and log it where it is new."""
        best, levels = self.best(), range(len(self.judge.levels))
        row = {
            "generation": generation,
            "size": len(self.members),
            **{f"at_level_{level}": sum(m.level == level for m in self.members) for level in levels},
            f"best_{self.goal.word}": best.value,
            **({} if best.regret is None else {"regret": best.regret}),
            "epochs_spent": self.epochs_spent,
            **({} if self.images_spent is None else {"images_spent": self.images_spent}),
            "seconds": round(self._took, 3),
        }
        self.rows.append(row)
        known = generation < self._written and not self._new
        if known or not ranks.is_first():
            return
        # A table of before may have rows of a search whose journal was deleted: those of this one replace them.
        self.bench.folder.save_generations(self.rows)
        self.bench.loggers.log_row({f"pool/{key}": value for key, value in row.items()}, generation)
        sizes = "/".join(str(row[f"at_level_{level}"]) for level in levels)
        spent = f", {self.epochs_spent} of {self.pyramid.epochs} epochs spent" if self.epochs_spent else ""
        line = (
            f"pool: generation {generation}, {len(self.members)} of {self.settings.pool} candidates, levels {sizes},"
            f" best {self.goal.shown(best.value)}{spent}"
        )
        log.info("%s", line)
        if self.judge.trains:
            screen().print(line, highlight=False, soft_wrap=True)
            self._draw()

    def _draw(self) -> None:
        title = run_title(self.bench.folder.summary())
        save_pool(self.events, self.judge.levels, self.goal, title, self.bench.folder.plots, self.judge.oracle)

    def records(self, best: Candidate) -> list[dict[str, Any]]:
        """Return the section `candidates` of the summary; draw the pool."""
        if ranks.is_first():
            self._draw()
        return [
            {
                "index": index,
                "values": {},
                "generation": member.generation,
                "level": member.level,
                "epochs": self.judge.levels[member.level],
                "value": finite(member.value),
                **self.goal.entries("val", None if self.judge.oracle else finite(member.value)),
                "genotype": member.genotype.to_dict(),
                "seconds": member.seconds,
                "chosen": member is best,
            }
            for index, member in enumerate(self.members)
        ]


def finite(value: float) -> float | None:
    """Return a value, or None in place of one that is not finite, which JSON does not have."""
    return value if math.isfinite(value) else None


def proposer_of(bench: Workbench) -> Proposer:
    """Build the proposer of a run, which begins with as many random candidates as the pool where it does not say."""
    section = bench.config.candidates.proposer
    assert section is not None  # there is a pool
    proposer: Proposer = bench.build("candidates.proposer", section, {"initial": bench.config.candidates.initial})
    return proposer
