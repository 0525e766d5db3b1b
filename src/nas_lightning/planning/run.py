"""task=plan: count the runs of a command, time each kind of step once, and multiply."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from nas_lightning.config.compose import as_dict, compose
from nas_lightning.config.overriding import key_of, value_of
from nas_lightning.config.sections import PlanConfig
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.core.memory import Demand
from nas_lightning.core.signals import taking_over
from nas_lightning.core.terminal import screen, track_progress
from nas_lightning.evaluation.memory import demand_of_training
from nas_lightning.evaluation.retraining import Retraining
from nas_lightning.planning.count import Unit
from nas_lightning.planning.measure import measure
from nas_lightning.planning.output import read_seconds, show, write_tables
from nas_lightning.planning.plan import Plan, plan_of, plan_of_config
from nas_lightning.searches.memory import demands_of_stage
from nas_lightning.searches.stages import Stage
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.tasks.genotype import given_genotype
from nas_lightning.training.memory import free_for, refuse_excess
from nas_lightning.training.workbench import Workbench


def run_plan(words: Sequence[str], folder: Path | None = None) -> Plan:
    """Print the number of runs of a command, their steps and their approximate hours.

    No run is carried out. Only with a folder are files written: plan.csv and steps.csv.

    Args:
        words: Overrides of the command; the sweep of an experiment is planned with and without `-m`.
        folder: Folder of the files, unless `hydra.run.dir` names one.

    Raises:
        ConfigError: A run is not valid, cannot be planned or does not fit the memory.
        Interrupted: A signal stopped the measurement.
    """
    own = [word for word in words if word.lstrip("+").startswith("plan.")]
    rest = [word for word in words if word not in own and word != "task=plan"]
    config = PlanConfig(**as_dict(compose([*own, "task=plan"]))["plan"])
    plan = plan_of(rest)
    place = next((value_of(word) for word in reversed(rest) if key_of(word) == "hydra.run.dir"), None)
    return _carry_out(plan, config, folder if place is None else Path(place))


def plan_run(config: Mapping[str, Any], folder: Path | None = None) -> Plan:
    """Print the steps and the approximate hours of one run.

    Args:
        config: The configuration of the run, whose section `plan`, if any, sets the measurements.
        folder: Folder of plan.csv and steps.csv; None writes none.

    Raises:
        ConfigError: It is not valid, cannot be planned or does not fit the memory.
        Interrupted: A signal stopped the measurement.
    """
    settings = PlanConfig(**(config.get("plan") or {}))
    # A configuration composed for task=plan plans what the command without that word would run.
    task = "pipeline" if config["task"] == "plan" else config["task"]
    return _carry_out(plan_of_config({**config, "task": task, "plan": None}), settings, folder)


def _carry_out(plan: Plan, config: PlanConfig, folder: Path | None) -> Plan:
    if config.measure and config.step_seconds is not None:
        read_all(plan, config.step_seconds)  # what it lacks is refused before the memory is predicted
        predict_memory(plan, must_fit=False)
    elif config.measure:
        predict_memory(plan, must_fit=True)
        measure_all(plan, config)
    show(plan, config)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_tables(plan, folder)
    elif plan.seconds:
        screen().print("  not kept; hydra.run.dir=FOLDER writes plan.csv and steps.csv", highlight=False)
    return plan


def predict_memory(plan: Plan, must_fit: bool) -> None:
    """Predict the largest peak of each kind of work.

    Args:
        plan: The plan, which takes them.
        must_fit: Refuse one that does not fit what is free here.

    Raises:
        ConfigError: One does not fit.
    """
    largest: dict[str, Demand] = {}
    for bench, stage in track_progress(list(_probes(plan).values()), "plan: memory"):
        for demand in _demands(bench, stage):
            if demand.kind not in largest or demand.peak > largest[demand.kind].peak:
                largest[demand.kind] = demand
            free = free_for(bench)
            if must_fit and free is not None:
                refuse_excess(bench, demand, free)
    plan.demands = list(largest.values())


def _demands(bench: Workbench, stage: Stage | None) -> list[Demand]:
    if stage is not None:
        return demands_of_stage(bench, stage)
    recipe = bench.evaluator
    if not isinstance(recipe, Retraining):  # no other training has been measured
        return []
    given = bench.config.task == "evaluate"
    genotype = given_genotype(bench) if given else random_genotype(bench.space, bench.config.seed)
    found = demand_of_training(recipe, recipe.network(genotype, bench), bench, given)
    return [] if found is None else [found]


def _probes(plan: Plan) -> dict[str, tuple[Workbench, Stage | None]]:
    return {probe: parts for member in plan.members for probe, parts in member.work.probes.items()}


def read_all(plan: Plan, file: str) -> None:
    """Take the seconds measured by another plan.

    Args:
        plan: The plan, which takes them.
        file: The steps.csv of the other plan.

    Raises:
        ConfigError: The file with the seconds lacks a unit, or cannot be read.
    """
    plan.seconds = read_seconds(Path(file))
    needed = {unit for member in plan.members for unit, times in member.work.units.items() if times}
    missing = sorted(needed - set(plan.seconds))
    if missing:
        raise ConfigError(
            f"plan.step_seconds={file}: has no {missing[0].kind} of {missing[0].probe}, it is of"
            " another plan; measure the same command there, with hydra.run.dir=FOLDER"
        )


def measure_all(plan: Plan, config: PlanConfig) -> None:
    """Time every distinct unit of a plan once."""
    with taking_over(_stop, (signal.SIGINT, signal.SIGTERM)):  # Lightning itself would wait until the end of the step
        for probe, (bench, stage) in track_progress(list(_probes(plan).items()), "plan: kinds of steps that are timed"):
            found = measure(bench, stage, config.seconds)
            plan.seconds |= {Unit(probe, kind): seconds for kind, seconds in found.items()}


def _stop(number: int, frame: FrameType | None) -> None:
    raise Interrupted("stopped: an unfinished plan keeps nothing")
