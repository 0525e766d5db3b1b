"""Candidates of a pool that are trained side by side: each a job of the launcher that the command chooses.

A candidate is trained in its run folder as it would be one after the other: what a job needs besides is the
configuration of the whole run and a number. So the results are the same bits, whatever the launcher does.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_lightning.core.errors import ConfigError, Interrupted, MachineError, in_one_line
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.terminal import screen
from nas_lightning.runs.folder import RunFolder
from nas_lightning.sweeps.jobs import launcher_words, run_jobs
from nas_lightning.tasks.judges import TrainingJudge, TrainMember, Verdict
from nas_lightning.training.processes import number_of_processes
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Jobs:
    """The trainings of some candidates to one level, by their number among these; pickled to each job.

    Args:
        train: Trains a member; pickled by its name.
        config: The configuration of the whole run.
        folder: Its folder.
        candidates: Index and genotype of each.
        level: The level.
    """

    train: TrainMember
    config: Mapping[str, Any]
    folder: Path
    candidates: Sequence[tuple[int, Mapping[str, Any]]]
    level: int

    def __call__(self, number: int) -> Verdict:
        """Train a candidate to the level."""
        index, genotype = self.candidates[number]
        bench = Workbench(self.config, RunFolder(self.folder))
        return TrainingJudge(bench, self.train)(index, Genotype.from_dict(genotype), self.level)


class Launcher:
    """Trains candidates side by side.

    Args:
        judge: Trains one.
        words: Overrides that choose and set up the launcher.
    """

    def __init__(self, judge: TrainingJudge, words: Sequence[str]) -> None:
        self.judge = judge
        self.words = words
        self._name = next(word.partition("=")[2] for word in reversed(words) if word.startswith("hydra/launcher="))

    def check(self) -> None:
        """Refuse a run of several processes, which all train the same candidate.

        Raises:
            ConfigError: It has several.
        """
        processes = number_of_processes(self.judge.bench.config.trainer)
        if processes > 1:
            raise ConfigError(
                f"hydra/launcher={self._name}: the {processes} processes of this run train each candidate together; use"
                " trainer.devices=1, with which candidates are trained side by side, or leave hydra/launcher out"
            )

    def __call__(self, candidates: Mapping[int, Genotype], level: int) -> dict[int, Verdict]:
        """Train candidates to a level; return what is found of each.

        Args:
            candidates: Genotypes by index.
            level: The level.

        Raises:
            ConfigError: A candidate is refused.
            MachineError: A training or the launcher failed; the run can be resumed.
            Interrupted: The user or a signal stopped it; the run can be resumed.
        """
        folder = self.judge.bench.folder
        names = ", ".join(map(str, candidates))
        epochs = self.judge.levels[level]
        line = f"candidates {names} by {self._name}: {folder}/candidates, up to {epochs} epochs"
        screen().print(line, highlight=False, soft_wrap=True)
        log.info("%s", line)
        given = [(index, genotype.to_dict()) for index, genotype in candidates.items()]
        jobs = Jobs(self.judge.train, self.judge.bench.config.to_dict(), folder.path.resolve(), given, level)
        again = f"continue with {folder.command()}"
        try:
            outcomes = run_jobs(jobs, self.words, [folder.candidates / str(index) for index in candidates])
        except KeyboardInterrupt as error:
            raise Interrupted(f"stopped in candidates {names}; {again}") from error
        except ConfigError:
            raise
        except Exception as error:  # of the launcher: its processes were killed, its cluster is gone
            log.info("hydra/launcher=%s has failed", self._name, exc_info=True)
            reason = f"{type(error).__name__}: {in_one_line(error)[:200]}"
            raise MachineError(f"hydra/launcher={self._name} has failed ({reason}); {again}") from error
        for index, outcome in zip(candidates, outcomes, strict=True):
            if outcome.stopped:
                raise Interrupted(f"stopped in candidate {index}; {again}")
            if outcome.problem:
                kind = ConfigError if outcome.mistake else MachineError
                raise kind(f"candidate {index}: {outcome.problem}; its log is in {folder}/candidates/{index}")
        return {index: outcome.value for index, outcome in zip(candidates, outcomes, strict=True)}


def launcher_of(bench: Workbench, judge: Any) -> Launcher | None:
    """Return what trains the candidates of a run side by side.

    None where its command chooses no launcher, or nothing is trained. The words are those of this command: a run that
    is resumed names its launcher again. A member of a sweep has none, which a launcher has started already.
    """
    words = launcher_words(bench.config.words)
    return Launcher(judge, words) if words and isinstance(judge, TrainingJudge) else None
