"""Count the steps, passes and measurements of a run without running it, keyed by what their time depends on."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from nas_lightning.callbacks import CurvatureTracking
from nas_lightning.core.errors import ConfigError
from nas_lightning.evaluation.training import Training
from nas_lightning.searches.build import bench_of, search_data, stages_of
from nas_lightning.searches.stages import Stage
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.tasks.candidates import member_benches
from nas_lightning.tasks.judges import TrainingJudge, judge_of, untrained
from nas_lightning.tasks.methods import method_benches
from nas_lightning.tasks.pool import pyramid_of
from nas_lightning.training.processes import number_of_processes
from nas_lightning.training.workbench import Workbench

PLANNED = ("pipeline", "search", "evaluate")
"""Tasks that can be planned."""


class Unit(NamedTuple):
    """A repeated piece of work.

    Attributes:
        probe: Hash of the configuration that its time depends on.
        kind: `search step`, `weight step` (of a warm-up epoch), `val batch`, `curvature` (one measurement),
            `training step` or `test batch`.
    """

    probe: str
    kind: str


@dataclass
class Work:
    """Work of one run.

    Attributes:
        units: Repetitions of each unit.
        probes: Workbench and stage that measure the units of each hash; the stage is None for a retraining.
        searches: Number of searches; every candidate counts.
        notes: Work that is not counted, for the user.
    """

    units: Counter[Unit] = field(default_factory=Counter)
    probes: dict[str, tuple[Workbench, Stage | None]] = field(default_factory=dict)
    searches: int = 0
    notes: list[str] = field(default_factory=list)

    def total(self, *kinds: str) -> int:
        """Return the number of units of these kinds."""
        return sum(times for unit, times in self.units.items() if unit.kind in kinds)

    def note(self, text: str) -> None:
        """Add a note, unless it is there."""
        if text not in self.notes:
            self.notes.append(text)


def count(bench: Workbench) -> Work:
    """Count the work of a run of this configuration; nothing is trained or written.

    Raises:
        ConfigError: The task has no steps to count, or parts do not fit each other or the images.
    """
    task = bench.config.task
    if task not in PLANNED:
        allowed = ", ".join(PLANNED)
        raise ConfigError(f"task={task}: has no steps to plan; allowed: {allowed}; use task=plan without another task")
    work = Work()
    processes = number_of_processes(bench.config.trainer)
    if processes > 1:
        work.note(f"{processes} processes: steps and hours of each; their communication is left out")
    searched = task != "evaluate"
    for method in (bench, *(method_benches(bench).values() if searched else ())):
        _count_method(method, work)
    if searched and bench.config.readings:
        work.note(f"readings: their selections are not counted ({', '.join(bench.config.readings)})")
    return work


def _count_method(bench: Workbench, work: Work) -> None:
    """Count the searches and retrainings of one method."""
    task = bench.config.task
    if task != "evaluate" and bench.config.candidates.proposer is not None:
        _count_pool(bench, work)
    elif task != "evaluate":
        members = member_benches(bench)
        for member in members or [bench]:
            _count_search(member, work)
        for member in members:
            _count_retraining(member, work)
    if task != "search":
        baseline = bench.config.evaluation.get("random_baseline") or 0
        _count_retraining(bench, work, 1 + baseline)
        if baseline:
            work.note(f"random baseline: {baseline} trainings, counted as if none had been trained before")


def _count_pool(bench: Workbench, work: Work) -> None:
    """Count the trainings of a search over a pool; what a table or a supernet judges takes no step worth counting."""
    judge = judge_of(bench, untrained)
    if isinstance(judge, TrainingJudge):
        pyramid = pyramid_of(bench, judge)
        member = judge.member(0, random_genotype(bench.space, bench.config.seed))
        _count_retraining(member, work, trainings=sum(pyramid.reached), epochs=pyramid.epochs)
    else:
        work.note(f"candidates: judged by a {judge.name}, which is not counted")
    settings = bench.config.candidates
    if settings.screen is not None:
        work.note(f"candidates.screen: {settings.pool * settings.screened} untrained networks scored, not counted")


def _count_search(bench: Workbench, work: Work) -> None:
    work.searches += 1
    stages = stages_of(bench)
    for stage in stages:
        parts = bench_of(bench, stage)
        settings, trainer = parts.config.search, parts.config.trainer
        images = search_data(parts)
        images.expected_processes = number_of_processes(trainer)
        images.setup("fit")
        steps = _limited(len(images.train_dataloader()["train"]), trainer.get("limit_train_batches"))
        batches = len(images.val_dataloader())
        probe = _remember(work, parts, stage)
        epochs = stage.last_epoch - stage.first_epoch
        learns = parts.part("hypergradient").learns
        # An architecture that is not learned takes only weight steps, as in a warm-up epoch.
        warm = min(settings.arch.warmup_epochs, epochs) if learns else epochs
        searching = (epochs - warm) * steps // settings.arch.interval
        work.units[Unit(probe, "weight step")] += epochs * steps - searching
        work.units[Unit(probe, "search step")] += searching
        work.units[Unit(probe, "val batch")] += epochs * _limited(batches, trainer.get("limit_val_batches"))
        if stage.phase == "search" and learns:
            for callback in parts.build_named("callbacks").values():
                if isinstance(callback, CurvatureTracking):
                    measured = [e for e in range(stage.first_epoch, stage.last_epoch) if e % callback.interval == 0]
                    # The last epoch of a schedule is always measured, even if it is no multiple of the interval.
                    end = stage.schedule_start + settings.epochs
                    extra = stage.first_epoch < end <= stage.last_epoch and end - 1 not in measured
                    work.units[Unit(probe, "curvature")] += len(measured) + extra
        for control in parts.build_named("control").values():
            if stage.phase == "search":
                passes = control.val_batches(parts.space, batches, settings.epochs)
                work.units[Unit(probe, "val batch")] += passes if stage.fresh else 0
        if stage is stages[-1]:
            size = parts.selector.batch_size or settings.batch_size
            evaluated = parts.selector.val_batches(parts.space, -(-batches * settings.batch_size // size))
            work.units[Unit(probe, "val batch")] += -(-evaluated * size // settings.batch_size)
    if bench.config.control:
        work.note("controls: counted as if none stops, goes back, saves work by a decision or changes the batch size")
    if any(stage.phase == "selection" for stage in stages):
        work.note(
            "selection: fine-tuning counted as if nothing were decided yet, which overestimates it by up to a half"
        )


def _count_retraining(bench: Workbench, work: Work, trainings: int = 1, epochs: int | None = None) -> None:
    """Count trainings; `epochs` of all of them together, each of its recipe's length where it is None."""
    evaluator = bench.evaluator
    if not isinstance(evaluator, Training):
        work.note(f"evaluation {type(evaluator).__name__}: trains nothing and is not counted")
        return
    images, trainer = evaluator.training_data(bench), bench.config.trainer
    images.expected_processes = number_of_processes(trainer)
    images.setup("fit")
    probe = _remember(work, bench, None)
    steps = _limited(len(images.train_dataloader()), trainer.get("limit_train_batches"))
    batches = len(images.val_dataloader())
    epochs = trainings * evaluator.epochs if epochs is None else epochs
    work.units[Unit(probe, "training step")] += epochs * steps
    passes = epochs * _limited(batches, trainer.get("limit_val_batches"))
    tests = trainings * _limited(batches, trainer.get("limit_test_batches"))
    work.units[Unit(probe, "test batch")] += passes + tests


def _limited(batches: int, limit: int | float | None) -> int:
    """Return the batches of a pass under a limit of Lightning: an integer is a number, a float a share."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


# Probes: hashes of what the time of a step depends on -----------------------------------------------------------


def _remember(work: Work, bench: Workbench, stage: Stage | None) -> str:
    """Register the workbench and stage that can measure these units; return their hash."""
    depends = _of_retraining(bench) if stage is None else _of_search(bench, stage)
    data, trainer = bench.data, bench.config.trainer
    depends |= {
        "images": list(data.sizes()),
        "objective": bench.config.objective,
        "space": bench.config.space,
        "precision": str(trainer.get("precision")),
    }
    text = json.dumps(_kinds(depends), sort_keys=True)
    probe = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    work.probes.setdefault(probe, (bench, stage))
    return probe


def _of_search(bench: Workbench, stage: Stage) -> dict[str, Any]:
    search = {
        key: getattr(bench.config.search, key) for key in ("batch_size", "init_channels", "layers", "stem", "recompute")
    }
    controls = bench.build_named("control")
    names = [key for key, part in controls.items() if part.shrinks]
    shrinking = {key: bench.config.control[key] for key in names}
    parts = {
        key: getattr(bench.config, key)
        for key in ("relaxation", "hypergradient", "perturbation", "regularizer", "engine", "graph")
    }
    callbacks = bench.build_named("callbacks").values()
    tracked = [
        [part.mode, part.exact, *([] if part.images is None else [part.images])]
        for part in callbacks
        if isinstance(part, CurvatureTracking)
    ]
    # Also which units are measured: there may be no weight step without an architecture step.
    arch = bench.config.search.arch
    alone = arch.warmup_epochs > 0 or arch.interval > 1
    measured = {"phase": stage.phase, "warm": alone, "curvature": tracked}
    # What was dropped before a later fresh stage is built neither by it nor by those that continue it.
    dropped = [found for found, _ in groupby({key: one.config.control[key] for key in names} for one in stage.so_far)]
    fresh = {"root": stage.root, "dropped": dropped} if stage.root else {}
    return {"search": search, "control": shrinking, **parts, **measured, **fresh}


def _of_retraining(bench: Workbench) -> dict[str, Any]:
    left_out = (
        *("name", "epochs", "warmup_epochs", "images", "schedule", "checkpoint_minutes"),
        *("random_baseline", "random_folder"),
    )
    return {"evaluation": {k: v for k, v in bench.config.evaluation.items() if k not in left_out}}


def _kinds(value: Any) -> Any:
    """Reduce every float to whether it is zero and drop `epochs`: strengths and rates do not affect the time."""
    if isinstance(value, Mapping):
        return {key: _kinds(inner) for key, inner in value.items() if key != "epochs"}
    if isinstance(value, list):
        return [_kinds(inner) for inner in value]
    return value != 0 if isinstance(value, float) else value
