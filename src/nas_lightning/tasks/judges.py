"""What judges the candidates of a search over a pool: a training that pauses at levels, a table, or a supernet."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nas_lightning.analyses.base import Origin
from nas_lightning.config.schema import validate
from nas_lightning.core.errors import ConfigError, GenotypeError, NonFiniteError, in_one_line
from nas_lightning.core.evaluator import Evaluator
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import OneShot
from nas_lightning.runs.folder import RunFolder, config_of_another_run
from nas_lightning.searches.build import search_data
from nas_lightning.searches.one_shot import OneShotModel, one_shot_of
from nas_lightning.selectors.paths import score_path
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.tasks.members import stopping_in
from nas_lightning.training.workbench import Workbench

TAKEN = ("trainer", "graph", "epoch", "trusted", "sweep", "sweep_limit", "skip_finished")
"""Sections of this command under which the supernet of another run is measured; all others are those of that run."""
TrainMember = Callable[[Workbench, Genotype, int], dict[str, Any]]
"""Trains the genotype of a member in its folder up to an epoch; returns the section `evaluation` of its summary."""


@dataclass(frozen=True)
class Verdict:
    """What a judge finds at a level.

    Args:
        value: The metric in its unit; None where a partial table lacks the genotype, or it has failed.
        seconds: Seconds of training so far.
        images: Images that its training has read so far; None where nothing is trained, or it is not known.
        regret: Regret in the table; None without one.
        failed: Why it counts as the worst, for people; None where it does not.
    """

    value: float | None
    seconds: float = 0.0
    images: int | None = None
    regret: float | None = None
    failed: str | None = None


class Judge:
    """Judges candidates level by level.

    Attributes:
        name: Its name, for the summary.
        levels: Epochs of each level, ascending; 0 where nothing is trained.
        oracle: Whether a level reads accuracies on test, which no search may see.
        trains: Whether candidates are trained, in run folders of their own.
    """

    name: str
    levels: tuple[int, ...] = (0,)
    oracle: bool = False
    trains: bool = False

    def check(self) -> None:
        """Refuse what could not be judged, before anything is written.

        Raises:
            ConfigError: It could not.
        """

    def __call__(self, index: int, genotype: Genotype, level: int) -> Verdict:
        """Return what is found of candidate `index` at a level; a higher one continues the one before."""
        raise NotImplementedError


class TrainingJudge(Judge):
    """Trains each candidate on the train half, measures it on `val`, and pauses at the epochs of a level.

    Args:
        bench: The parts of the run.
        train: Trains a member.
    """

    name = "training"
    trains = True

    def __init__(self, bench: Workbench, train: TrainMember) -> None:
        settings = bench.config.candidates
        self.bench = bench
        self.train = train
        self.levels = tuple(settings.levels or [settings.epochs])

    def check(self) -> None:
        """Refuse a recipe that still warms up at the first level, and what its training refuses."""
        warmup = _judging(self.bench).get("warmup_epochs", 0)
        if warmup >= self.levels[0]:
            key = "levels" if self.bench.config.candidates.levels else "epochs"
            raise ConfigError(
                f"candidates.{key}: the learning rate warms up for {warmup} epochs, and the first level ends after"
                f" {self.levels[0]}; give it {warmup + 1} epochs or more"
            )
        member = self.member(0, random_genotype(self.bench.space, self.bench.config.seed))
        member.evaluator.check(member)

    def member(self, index: int, genotype: Genotype) -> Workbench:
        """Return the workbench of a candidate: its training alone, as long as the last level."""
        config = self.bench.config.to_dict()
        retraining = copy.deepcopy(_judging(self.bench))
        brief: dict[str, Any] = {"images": "search_halves", "epochs": self.levels[-1]}
        if "random_baseline" in retraining:  # of the whole run, not of each candidate
            brief["random_baseline"] = 0
        config["evaluation"] = {**retraining, **brief}
        config |= {"task": "evaluate", "genotype": json.dumps(genotype.to_dict()), "run": None, "epoch": None}
        config |= {"readings": {}, "methods": []}
        config["candidates"] = {"key": None, "values": None, "epochs": config["candidates"]["epochs"]}
        return self.bench.variant(validate(config), RunFolder(self.bench.folder.candidates / str(index)))

    def __call__(self, index: int, genotype: Genotype, level: int) -> Verdict:
        """Train to the epochs of the level; a training whose loss is not finite has failed.

        Its images and seconds are those up to there, so that the counts of the whole search go on.
        """
        with stopping_in(f"candidate {index}", self.bench.folder):
            try:
                found = self.train(self.member(index, genotype), genotype, self.levels[level])
            except NonFiniteError as error:  # raised in all processes at once
                reason = in_one_line(error).partition(";")[0]
                return Verdict(None, error.seconds, error.images, failed=reason)
        return Verdict(self.bench.objective.goal.value(found, "val"), found["seconds"], found.get("images"))


class TableJudge(Judge):
    """Looks candidates up in a table, whose lengths of training are the levels.

    Args:
        bench: The parts of the run.
        evaluator: The evaluator with the table.
    """

    name = "table"

    def __init__(self, bench: Workbench, evaluator: Evaluator) -> None:
        self.bench = bench
        self.evaluator = evaluator
        found = [evaluator.length(bench, epochs) for epochs in bench.config.candidates.levels or (None,)]
        self.levels = tuple(epochs for epochs, _ in found)
        self.oracle = any(on_test for _, on_test in found)
        self._images: list[int | None] | None = None

    def check(self) -> None:
        """Refuse a table that does not list this space."""
        self.evaluator.check(self.bench)

    def __call__(self, index: int, genotype: Genotype, level: int) -> Verdict:
        """Read the accuracy after the epochs of the level."""
        listed = self.evaluator.listed(genotype, self.bench, self.levels[level])
        return Verdict(listed.value, images=self.images(level), regret=listed.regret)

    def images(self, level: int) -> int | None:
        """Return the images that a training to the end of a level would have read; None where the table is silent.

        Each level adds the epochs since the one before, on as many images as the training of its own column has.
        """
        if self._images is None:  # in the first call: `check` has refused by then what cannot be read
            self._images = [self.evaluator.images_listed(self.bench, epochs) for epochs in self.levels]
        total, before = 0, 0
        for epochs, images in zip(self.levels[: level + 1], self._images, strict=False):
            if images is None:
                return None
            total, before = total + (epochs - before) * images, epochs
        return total


class SupernetJudge(Judge):
    """Measures the path of a candidate through the supernet of a finished search, on all of its `val`.

    As the finalists of Li & Talwalkar, Random search and reproducibility for NAS (UAI 2019): running statistics of
    batch normalisation, the same images for all.

    Args:
        bench: The parts of the run.
    """

    name = "supernet"

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.folder = str(bench.config.candidates.supernet)
        self._one_shot: OneShot | None = None

    def check(self) -> None:
        """Refuse a run without a supernet, of another space, or whose supernet no longer has all paths."""
        source, origin = self._origin()
        if source.config.space != self.bench.config.space:
            raise ConfigError(
                f"candidates.supernet={self.folder}: its space is {source.space.name} with other settings than"
                f" space={self.bench.space.name} of this run; use the space of the search"
            )
        if not origin.decisions.open:
            raise ConfigError(
                f"candidates.supernet={self.folder}: that search has dropped options or edges, so its supernet lacks"
                " paths of candidates; give one that keeps all options to its end, such as method=darts"
            )

    def __call__(self, index: int, genotype: Genotype, level: int) -> Verdict:
        """Measure the path, in the unit of the metric; one whose outputs are not finite has failed."""
        if self._one_shot is None:
            source, origin = self._origin()
            parts, module = origin.module()
            data = search_data(parts)
            data.setup("fit")
            data.first_pass = origin.passes
            self._one_shot = one_shot_of(module, OneShotModel(module, data, source.probe))
        path = self.bench.space.path_of(genotype)
        try:
            score = score_path(self._one_shot, path, None)
        except GenotypeError as error:
            return Verdict(None, failed=in_one_line(error))
        goal = self._one_shot.goal
        return Verdict(goal.rounded(goal.sign * score))

    def _origin(self) -> tuple[Workbench, Origin]:
        config = {**self.bench.config.to_dict(), "run": self.folder, "epoch": None}
        try:
            source = Workbench(config_of_another_run(config, TAKEN), self.bench.folder)
            return source, Origin(source)
        except ConfigError as error:
            key, folder = f"candidates.supernet={self.folder}", RunFolder(self.folder)
            # Messages about the run of an analysis name it by `run`, which is no key of this command.
            line = str(error).replace(f"run={folder}", key)
            raise ConfigError(line if line.startswith(key) else f"{key}: {line}") from error


def untrained(member: Workbench, genotype: Genotype, epochs: int) -> dict[str, Any]:
    """Stand for the training of members where a judge is only checked or counted."""
    raise AssertionError("nothing is trained here")


def judge_of(bench: Workbench, train: TrainMember) -> Judge:
    """Return what judges the candidates of a run.

    Raises:
        ConfigError: Its evaluation can judge none, or not at these levels.
    """
    own = bench.config.candidates.evaluation is not None
    if bench.config.candidates.supernet is not None:
        return SupernetJudge(bench)
    evaluator: Evaluator = bench.build("candidates.evaluation", _judging(bench)) if own else bench.evaluator
    return TrainingJudge(bench, train) if evaluator.pauses else TableJudge(bench, evaluator)


def _judging(bench: Workbench) -> dict[str, Any]:
    """Return the evaluator section of the candidates: their own, or that of the run."""
    return bench.config.candidates.evaluation or bench.config.evaluation
