"""Count the runs of a command and what they do, time each kind of step once, and multiply."""

import json
import math
import shlex
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from nas_lightning.callbacks.preemption import taking_over
from nas_lightning.config.compose import as_dict, compose, hydra_settings, rewrite
from nas_lightning.config.schema import PlanConfig
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.data.base import ImageData
from nas_lightning.data.stand_in import without_reading
from nas_lightning.planning.count import Unit, Work, count
from nas_lightning.planning.measure import Seconds, measure
from nas_lightning.runs import layout, tables
from nas_lightning.runs.folder import RunFolder
from nas_lightning.searches.one_shot import track_progress
from nas_lightning.sweeps.grammar import limited, params_of, sweep_choices
from nas_lightning.training.workbench import Workbench

SEARCH = ("search step", "weight step")
TRAINING = ("training step",)


@dataclass
class Member:
    """Runs of a sweep that differ in their seed alone.

    Attributes:
        overrides: What tells them from the others.
        runs: How many there are.
        labels: Method, space and data.
        work: What each of them does.
    """

    overrides: list[str]
    runs: int
    labels: tuple[str, str, str]
    work: Work


@dataclass
class Plan:
    """The runs of a command, and the seconds of the units that they consist of.

    Attributes:
        choices: How many values each swept key has.
        members: All runs, those that differ in the seed alone together.
        seconds: What each unit takes; empty where nothing was measured.
    """

    choices: dict[str, int]
    members: list[Member]
    seconds: dict[Unit, Seconds]

    @property
    def runs(self) -> int:
        """Runs in all."""
        return sum(member.runs for member in self.members)

    def hours(self, member: Member) -> tuple[float, float, float] | None:
        """Median, least and most hours of all runs of a member; None where nothing was measured."""
        if not self.seconds:
            return None
        parts = [(self.seconds[unit], times * member.runs / 3600) for unit, times in member.work.units.items() if times]
        return (
            sum(seconds.median * hours for seconds, hours in parts),
            sum(seconds.least * hours for seconds, hours in parts),
            sum(seconds.most * hours for seconds, hours in parts),
        )


def plan_of(words: Sequence[str]) -> Plan:
    """The runs of a command and what they do; nothing is measured yet.

    Args:
        words: The command without `task=plan` and its keys.

    Raises:
        ConfigError: A run of the sweep is not valid, or its task has no steps to count.
    """
    words = limited(rewrite(words))
    settings = hydra_settings([next(iter(values)) for values in sweep_choices(words).values() if values])
    choices = {**sweep_choices(params_of(settings)), **sweep_choices(words)}
    unknown = [key for key, values in choices.items() if values is None]
    if unknown:
        raise ConfigError(f"{unknown[0]}: a plan needs to know its values; write them out, {unknown[0]}=a,b")
    swept = {key: values for key, values in choices.items() if values and len(values) > 1}
    trials = settings.sweeper.get("n_trials")
    seeds = swept.pop("seed", ["seed"])
    fixed = [values[0] for key, values in choices.items() if values and key not in swept and key != "seed"]
    if trials is not None:  # an optimiser chooses; its first values stand for all
        fixed += [values[0] for values in swept.values()]
        swept, seeds = {}, ["seed"] * int(trials)
    images: dict[str, ImageData] = {}
    members = []
    for overrides in track_progress(list(product(*swept.values())), "plan: runs"):
        bench = Workbench(as_dict(compose([*fixed, *overrides])), RunFolder("unused"))
        key = json.dumps(bench.config.data, sort_keys=True)
        bench.data = images[key] = images[key] if key in images else without_reading(bench.source)
        labels = (bench.config.method, bench.space.name, bench.data.name)
        members.append(Member(list(overrides), len(seeds), labels, count(bench)))
    told = {key: len(values) for key, values in swept.items()} | ({"seed": len(seeds)} if len(seeds) > 1 else {})
    return Plan({"trials": int(trials)} if trials is not None else told, members, {})


def measure_all(plan: Plan, config: PlanConfig) -> None:
    """Time every distinct unit of a plan once, or read what was timed elsewhere.

    Raises:
        ConfigError: The file with the seconds lacks a unit, or cannot be read.
    """
    needed = {unit for member in plan.members for unit, times in member.work.units.items() if times}
    if config.step_seconds is not None:
        plan.seconds = _read(Path(config.step_seconds))
        missing = sorted(needed - set(plan.seconds))
        if missing:
            raise ConfigError(
                f"plan.step_seconds={config.step_seconds}: has no {missing[0].kind} of {missing[0].probe}, it is of"
                " another plan; measure the same command there, with hydra.run.dir=FOLDER"
            )
        return
    probes = {probe: parts for member in plan.members for probe, parts in member.work.probes.items()}
    with taking_over(_stop, (signal.SIGINT, signal.SIGTERM)):  # Lightning would wait for the end of a step
        for probe, (bench, stage) in track_progress(list(probes.items()), "plan: kinds of steps that are timed"):
            found = measure(bench, stage, config.seconds)
            plan.seconds |= {Unit(probe, kind): seconds for kind, seconds in found.items()}


def _stop(number: int, frame: FrameType | None) -> None:
    raise Interrupted("stopped: a plan that is not finished keeps nothing")


def run_plan(words: Sequence[str]) -> Plan:
    """task=plan: print how many runs there are, what they do and about how long they take.

    Nothing is trained to an end, and nothing is written but `plan.csv` and `steps.csv` where `hydra.run.dir` is given.

    Args:
        words: The command, `-m` or not: what an experiment sweeps over is planned in either case.

    Raises:
        ConfigError: A run is not valid, or cannot be planned.
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
        _write(plan, Path(folder))
    elif plan.seconds:
        Console().print("  not kept; hydra.run.dir=FOLDER writes plan.csv and steps.csv", highlight=False)
    return plan


# What is told --------------------------------------------------------------------------------------------------


def show(plan: Plan, config: PlanConfig) -> None:
    """Print the plan."""
    console = Console()
    factors = " × ".join(f"{number} {key}" for key, number in plan.choices.items()) or "no sweep"
    console.print(f"plan: {plan.runs} run{'s' * (plan.runs != 1)} = {factors}", highlight=False, markup=False)
    table = Table()
    columns = ("runs", "searches", "search steps", "retraining steps", *(["hours"] if plan.seconds else []))
    for name in ("method", "space", "data"):
        table.add_column(name, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right")
    groups: dict[tuple[str, str, str], list[Member]] = {}
    for member in plan.members:
        groups.setdefault(member.labels, []).append(member)
    for labels, members in groups.items():
        table.add_row(*labels, *_row(plan, members))
    table.add_section()
    table.add_row("all", "", "", *_row(plan, plan.members))
    console.print(table)
    if plan.seconds:
        where = f"of {config.step_seconds}" if config.step_seconds else f"measured on {_device(plan)}"
        console.print(
            f"about {_rounded(total(plan)[0])} hours of one device ({_rounded(total(plan)[1])} to"
            f" {_rounded(total(plan)[2])}), one run after the other; step times {where}",
            highlight=False,
        )
    for note in notes(plan):
        console.print(f"  {note}", highlight=False, markup=False)


def total(plan: Plan) -> tuple[float, float, float]:
    """Hours of all runs: by the median, the fastest and the slowest measured steps."""
    found = [hours for member in plan.members if (hours := plan.hours(member)) is not None]
    return (sum(h[0] for h in found), sum(h[1] for h in found), sum(h[2] for h in found))


def notes(plan: Plan) -> list[str]:
    """What the estimate leaves out."""
    always = "left out: start, checkpoints, drawings, logs; reading and decoding of images; other work of the device"
    told = [note for member in plan.members for note in member.work.notes]
    return list(dict.fromkeys([*([always] if plan.seconds else []), *told]))


def _row(plan: Plan, members: list[Member]) -> list[str]:
    def summed(*kinds: str) -> str:
        return f"{sum(member.runs * member.work.total(*kinds) for member in members):,}"

    runs = sum(member.runs for member in members)
    searches = sum(member.runs * member.work.searches for member in members)
    hours = [_rounded(sum((plan.hours(member) or (0,))[0] for member in members))] if plan.seconds else []
    return [f"{runs:,}", f"{searches:,}", summed(*SEARCH), summed(*TRAINING), *hours]


def _rounded(hours: float) -> str:
    """Two digits: more would claim what is not known.

    >>> _rounded(1234.5), _rounded(0.01234), _rounded(0)
    ('1,200', '0.012', '0')
    """
    if hours == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(hours)))
    return f"{round(hours, digits):,.{max(0, digits)}f}"


def _device(plan: Plan) -> str:
    bench = next(iter(plan.members[0].work.probes.values()))[0]
    device = bench.plain_trainer([], max_epochs=1, logger=False).strategy.root_device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"the CPU with {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"


# Tables --------------------------------------------------------------------------------------------------------


def _write(plan: Plan, folder: Path) -> None:
    """`plan.csv`, a row for the runs that differ in the seed alone, and `steps.csv`, the seconds."""
    rows: list[dict[str, Any]] = []
    for member in plan.members:
        hours = plan.hours(member) or ("", "", "")
        rows.append(
            {
                **dict(zip(("method", "space", "data"), member.labels, strict=True)),
                "overrides": shlex.join(member.overrides),
                "runs": member.runs,
                "searches": member.runs * member.work.searches,
                "search_steps": member.runs * member.work.total(*SEARCH),
                "retraining_steps": member.runs * member.work.total(*TRAINING),
                **dict(zip(("hours", "hours_least", "hours_most"), hours, strict=True)),
            }
        )
    _save(folder / layout.PLAN, rows)
    times: Counter[Unit] = Counter()
    for member in plan.members:
        times.update({unit: member.runs * number for unit, number in member.work.units.items()})
    timed = [(unit, number) for unit, number in times.items() if unit in plan.seconds]
    _save(folder / layout.STEPS, [{**u._asdict(), "times": number, **vars(plan.seconds[u])} for u, number in timed])


def _save(path: Path, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    tables.write(path, rows)
    Console().print(f"written: {path}", highlight=False, soft_wrap=True)


def _read(path: Path) -> dict[Unit, Seconds]:
    """What a `steps.csv` holds.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        rows = tables.read(path)
        return {
            Unit(row["probe"], row["kind"]): Seconds(*(float(row[key]) for key in ("median", "least", "most")))
            for row in rows
        }
    except (OSError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"plan.step_seconds={path}: cannot be read as a steps.csv ({error}); task=plan writes one with"
            " hydra.run.dir=FOLDER"
        ) from error
