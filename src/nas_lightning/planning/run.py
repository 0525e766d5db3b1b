"""task=plan: count the runs of a command, time each kind of step once, and multiply."""

import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from nas_lightning.callbacks.preemption import taking_over
from nas_lightning.config.compose import as_dict, compose
from nas_lightning.config.sections import PlanConfig
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.core.terminal import screen
from nas_lightning.planning.count import Unit
from nas_lightning.planning.measure import measure
from nas_lightning.planning.output import read_seconds, show, write_tables
from nas_lightning.planning.plan import Plan, plan_of
from nas_lightning.searches.one_shot import track_progress


def run_plan(words: Sequence[str]) -> Plan:
    """Print the number of runs of a command, their steps and their approximate hours.

    No run is carried out. Only with `hydra.run.dir` are files written: plan.csv and steps.csv.

    Args:
        words: Overrides of the command; the sweep of an experiment is planned with and without `-m`.

    Raises:
        ConfigError: A run is not valid, or cannot be planned.
        Interrupted: A signal stopped the measurement.
    """
    own = [word for word in words if word.lstrip("+").startswith("plan.")]
    rest = [word for word in words if word not in own and word != "task=plan"]
    config = PlanConfig(**as_dict(compose([*own, "task=plan"]))["plan"])
    plan = plan_of(rest)
    if config.measure:
        measure_all(plan, config)
    folder = next((word.partition("=")[2] for word in rest if word.startswith("hydra.run.dir=")), None)
    show(plan, config)
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_tables(plan, Path(folder))
    elif plan.seconds:
        screen().print("  not kept; hydra.run.dir=FOLDER writes plan.csv and steps.csv", highlight=False)
    return plan


def measure_all(plan: Plan, config: PlanConfig) -> None:
    """Time every distinct unit of a plan once, or read the seconds measured by another plan.

    Raises:
        ConfigError: The file with the seconds lacks a unit, or cannot be read.
    """
    needed = {unit for member in plan.members for unit, times in member.work.units.items() if times}
    if config.step_seconds is not None:
        plan.seconds = read_seconds(Path(config.step_seconds))
        missing = sorted(needed - set(plan.seconds))
        if missing:
            raise ConfigError(
                f"plan.step_seconds={config.step_seconds}: has no {missing[0].kind} of {missing[0].probe}, it is of"
                " another plan; measure the same command there, with hydra.run.dir=FOLDER"
            )
        return
    probes = {probe: parts for member in plan.members for probe, parts in member.work.probes.items()}
    with taking_over(_stop, (signal.SIGINT, signal.SIGTERM)):  # Lightning itself would wait until the end of the step
        for probe, (bench, stage) in track_progress(list(probes.items()), "plan: kinds of steps that are timed"):
            found = measure(bench, stage, config.seconds)
            plan.seconds |= {Unit(probe, kind): seconds for kind, seconds in found.items()}


def _stop(number: int, frame: FrameType | None) -> None:
    raise Interrupted("stopped: an unfinished plan keeps nothing")
