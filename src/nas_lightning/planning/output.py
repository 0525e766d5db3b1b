"""Print a plan, and write and read its tables: plan.csv and steps.csv."""

import math
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from nas_lightning.config.sections import PlanConfig
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.terminal import screen
from nas_lightning.planning.count import Unit
from nas_lightning.planning.measure import Seconds
from nas_lightning.planning.plan import Member, Plan, notes, total
from nas_lightning.runs import layout, tables

SEARCH = ("search step", "weight step")
TRAINING = ("training step",)


def show(plan: Plan, config: PlanConfig) -> None:
    """Print the runs, their steps and hours, a row per method, space and data, then what is left out."""
    console = screen()
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
            f"about {_rounded(total(plan)[0])} hours on one device ({_rounded(total(plan)[1])} to"
            f" {_rounded(total(plan)[2])}), one run after the other; step times {where}",
            highlight=False,
        )
    if plan.demands:
        peaks = ", ".join(map(str, plan.demands))
        console.print(f"memory, predicted for each run: {peaks}", highlight=False)
    for note in notes(plan):
        console.print(f"  {note}", highlight=False, markup=False)


def _row(plan: Plan, members: list[Member]) -> list[str]:
    def summed(*kinds: str) -> str:
        return f"{sum(member.runs * member.work.total(*kinds) for member in members):,}"

    runs = sum(member.runs for member in members)
    searches = sum(member.runs * member.work.searches for member in members)
    hours = [_rounded(sum((plan.hours(member) or (0,))[0] for member in members))] if plan.seconds else []
    return [f"{runs:,}", f"{searches:,}", summed(*SEARCH), summed(*TRAINING), *hours]


def _rounded(hours: float) -> str:
    """Round to two significant digits, which is more than the estimate is worth.

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


def write_tables(plan: Plan, folder: Path) -> None:
    """Write plan.csv, a row per member, and steps.csv, the seconds of each unit, to an existing folder."""
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
    screen().print(f"written: {path}", highlight=False, soft_wrap=True)


def read_seconds(path: Path) -> dict[Unit, Seconds]:
    """Read the seconds of each unit from a steps.csv.

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
