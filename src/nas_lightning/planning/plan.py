"""Count the runs of a command and what they do; combine the counts with measured seconds to hours."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from nas_lightning.config.compose import as_dict, compose, hydra_settings, rewrite
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.memory import Demand
from nas_lightning.core.terminal import track_progress
from nas_lightning.data.source import DataSource
from nas_lightning.data.stand_in import without_reading
from nas_lightning.planning.count import Unit, Work, count
from nas_lightning.planning.measure import Seconds
from nas_lightning.runs.folder import RunFolder
from nas_lightning.sweeps.grammar import limited, params_of, sweep_choices
from nas_lightning.training.workbench import Workbench


@dataclass
class Member:
    """Runs of a sweep that differ only in their seed.

    Attributes:
        overrides: Swept overrides that these runs share, without the seed.
        runs: Number of runs.
        labels: Method, space and data.
        work: Work of each run.
    """

    overrides: list[str]
    runs: int
    labels: tuple[str, str, str]
    work: Work


@dataclass
class Plan:
    """Runs of a command, the seconds of their units of work and the memory that they need.

    Attributes:
        choices: Number of values of each swept key.
        members: All runs, grouped by their overrides without the seed.
        seconds: Seconds of each unit; empty if nothing was measured.
        demands: Largest predicted peak of each kind of work; empty if nothing was predicted.
    """

    choices: dict[str, int]
    members: list[Member]
    seconds: dict[Unit, Seconds]
    demands: list[Demand] = field(default_factory=list)

    @property
    def runs(self) -> int:
        """Number of runs."""
        return sum(member.runs for member in self.members)

    def hours(self, member: Member) -> tuple[float, float, float] | None:
        """Return median, least and most hours of all runs of a member; None if nothing was measured."""
        if not self.seconds:
            return None
        parts = [(self.seconds[unit], times * member.runs / 3600) for unit, times in member.work.units.items() if times]
        return (
            sum(seconds.median * hours for seconds, hours in parts),
            sum(seconds.least * hours for seconds, hours in parts),
            sum(seconds.most * hours for seconds, hours in parts),
        )


def plan_of(words: Sequence[str]) -> Plan:
    """Count the runs of a command and their work; nothing is measured yet.

    Args:
        words: Overrides of the command without `task=plan` and `plan.*`.

    Raises:
        ConfigError: A run of the sweep is not valid, or its task has no steps to count.
    """
    words = limited(rewrite(words))
    settings = hydra_settings([next(iter(values)) for values in sweep_choices(words).values() if values])
    choices = {**sweep_choices(params_of(settings)), **sweep_choices(words)}
    unknown = [key for key, values in choices.items() if values is None]
    if unknown:
        raise ConfigError(f"{unknown[0]}: a plan needs the values of a sweep; write them out, {unknown[0]}=a,b")
    swept = {key: values for key, values in choices.items() if values and len(values) > 1}
    trials = settings.sweeper.get("n_trials")
    seeds = swept.pop("seed", ["seed"])
    fixed = [values[0] for key, values in choices.items() if values and key not in swept and key != "seed"]
    if trials is not None:  # an optimiser chooses the values, so the first ones stand for all trials
        fixed += [values[0] for values in swept.values()]
        swept, seeds = {}, ["seed"] * int(trials)
    images: dict[str, DataSource] = {}
    members = [
        _member(as_dict(compose([*fixed, *overrides])), list(overrides), len(seeds), images)
        for overrides in track_progress(list(product(*swept.values())), "plan: runs")
    ]
    sizes = {key: len(values) for key, values in swept.items()} | ({"seed": len(seeds)} if len(seeds) > 1 else {})
    return Plan({"trials": int(trials)} if trials is not None else sizes, members, {})


def plan_of_config(config: Mapping[str, Any]) -> Plan:
    """Count the work of one run; nothing is measured yet.

    Args:
        config: The configuration of the run.

    Raises:
        ConfigError: It is not valid, or its task has no steps to count.
    """
    return Plan({}, [_member(config, [], 1, {})], {})


def _member(config: Mapping[str, Any], overrides: list[str], runs: int, images: dict[str, DataSource]) -> Member:
    bench = Workbench(config, RunFolder("unused"))
    # Runs on the same data share one image object, so that its folders are listed once.
    key = json.dumps(bench.config.data, sort_keys=True)
    bench.data = images[key] = images[key] if key in images else without_reading(bench.source)
    return Member(overrides, runs, (bench.config.method, bench.space.name, bench.data.name), count(bench))


def total(plan: Plan) -> tuple[float, float, float]:
    """Return the hours of all runs by the median, the fastest and the slowest measured steps."""
    found = [hours for member in plan.members if (hours := plan.hours(member)) is not None]
    return (sum(h[0] for h in found), sum(h[1] for h in found), sum(h[2] for h in found))


def notes(plan: Plan) -> list[str]:
    """Return one line per item that the estimate leaves out."""
    always = "left out: start, checkpoints, drawings, logs; reading and decoding images; other load on the device"
    counted = [note for member in plan.members for note in member.work.notes]
    return list(dict.fromkeys([*([always] if plan.seconds else []), *counted]))
