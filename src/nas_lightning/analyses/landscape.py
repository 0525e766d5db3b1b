"""Run `task=landscape`: measure and draw the loss landscape of supernets around their architecture parameters.

Sources and directions: `nas_lightning.curvature.landscape`. Noise, drop-path and the like are off, batch normalisation
uses its running statistics, and all points see the same images of `val`, augmented as in the search. Of an objective
that reports another metric, its value takes the place of the accuracy throughout.
"""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nas_lightning import reports
from nas_lightning.analyses.base import QUIET, Origin, show_table
from nas_lightning.analyses.goals import SharedGoal, note_goal
from nas_lightning.analyses.run import about
from nas_lightning.config.schema import RootConfig
from nas_lightning.config.sections import LandscapeConfig
from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.core.objective import Goal
from nas_lightning.core.terminal import screen, track_progress
from nas_lightning.curvature.landscape import anisotropy, at_distance, directions, grid, moved, over_plane
from nas_lightning.reports.landscape import limits, save_landscape
from nas_lightning.runs.folder import RunFolder, config_of_another_run
from nas_lightning.runs.versions import git_commit, versions
from nas_lightning.searches.build import search_data
from nas_lightning.searches.one_shot import OneShotModel
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)

TAKEN = ("landscape", "trainer", "graph", "epoch", "runs", "trusted", "sweep", "skip_finished", "candidates")
"""Keys that `task=landscape` reads from its own command; all others are those of the run."""
FRACTIONS = (0.25, 0.5, 1.0)
"""Distances from the centre, as shares of the radius, at which mean values are reported."""


class Surroundings:
    """The supernet of one run, and the plane around its architecture parameters.

    Args:
        bench: The parts of the landscape.
        path: Folder of the run.

    Raises:
        ConfigError: The run has no search, keeps no supernet of that epoch, or has no architecture parameters that
            change its mixing weights.
    """

    def __init__(self, bench: Workbench, path: str) -> None:
        self.path = path
        self.bench = Workbench(config_of_another_run({**bench.config.to_dict(), "run": path}, TAKEN), bench.folder)
        source = RunFolder(path, "run")
        origin = Origin(self.bench)
        self.epoch, self.passes = origin.epoch, origin.passes
        self.settings = bench.config.landscape or LandscapeConfig()
        self.stage, self.module = origin.module()
        self.goal = self.module.goal
        self.arch = {name: a.detach() for name, a in self.module.arch.items()}
        choices = self.module.space.choices
        self.shapes = {name: tuple(a.shape) for name, a in self.arch.items()}
        try:
            self.plane = directions(self.shapes, self.settings.seed, {name: c.mask for name, c in choices.items()})
        except ValueError as error:
            raise ConfigError(f"run={source}: {error}; give the run of a gradient-based method") from error
        # Fixed weights, or decisions on every row, leave a flat plane whose curvature would be reported as zero.
        here = self.module.mean(self.arch)
        away = [self.module.mean(moved(self.arch, self.plane, x, y)) for x, y in ((1.0, 0.0), (0.0, 1.0))]
        if all(torch.equal(here[name], other[name]) for other in away for name in here):
            raise ConfigError(
                f"run={source}: the mixing weights do not depend on architecture parameters after epoch {self.epoch}:"
                " the method learns none, or every choice is decided; give another run, or an earlier epoch, epoch=K"
            )

    def model(self) -> OneShotModel:
        """Build the one-shot model that measures the supernet."""
        images = search_data(self.stage)
        images.setup("fit")
        images.first_pass = self.passes
        trainer = self.stage.plain_trainer([], max_epochs=1, **QUIET)
        return OneShotModel(self.module, images, trainer, self.settings.batch_size)

    @property
    def batches(self) -> int | None:
        """Return the number of batches of `val` per point; None is all."""
        images = self.settings.images
        return None if images is None else math.ceil(images / self.settings.batch_size)

    @property
    def title(self) -> str:
        """Return the title of the run in figures."""
        config = self.bench.config
        return f"{config.method}, {self.bench.space.name}, {self.bench.data.name}, seed {config.seed}"


def landscape_bench(config: RootConfig, folder: RunFolder) -> Workbench:
    """Build the parts of a landscape: those of the run, or of the first of several.

    Raises:
        ConfigError: No run is given, or none can be used.
    """
    if config.landscape is None:
        config = config.with_sections(landscape=LandscapeConfig().model_dump())
    if config.run is None and config.runs is None:
        raise ConfigError(
            "run=null: task=landscape needs the supernet of a search; give run=outputs/DATE/TIME, or runs='multirun/**'"
        )
    if config.run is not None and config.runs is not None:
        raise ConfigError(f"run={config.run}: cannot be combined with runs; give both folders as runs=[FOLDER,FOLDER]")
    if config.run is not None:
        return Workbench(config_of_another_run(config.to_dict(), TAKEN), folder)
    found: list[str] = []
    shared = SharedGoal()
    for path in reports.collect(config.runs or [])["run"]:
        run = str(RunFolder(path).path)
        bench = Workbench(config_of_another_run({**config.to_dict(), "run": run}, TAKEN), folder)
        try:
            shared.add(RunFolder(run), Surroundings(bench, run).goal)
        except ConfigError as error:
            log.warning("skipped: %s", error)
        else:
            found.append(run)
    if not found:
        raise ConfigError(
            f"runs={json.dumps(config.runs)}: no run there has a supernet with architecture parameters; give other"
            " runs, runs='multirun/**'"
        )
    merged = config_of_another_run({**config.to_dict(), "run": found[0]}, TAKEN)
    return Workbench({**merged, "run": None, "runs": found}, folder)


def start_landscape(bench: Workbench) -> None:
    """Refuse what cannot be measured, then claim the run folder.

    Raises:
        ConfigError: A run cannot be measured, or the folder already holds a run.
    """
    around = [Surroundings(bench, path) for path in _paths(bench)]
    around[0].model()
    for other in around[1:]:
        if other.shapes != around[0].shapes:
            log.warning(
                "%s has other architecture parameters than %s: their directions differ",
                other.path,
                around[0].path,
            )
    bench.folder.claim(bench.config.to_dict())
    name_landscape(bench)


def name_landscape(bench: Workbench) -> None:
    """Write the search, if it is one, and the versions into the summary."""
    labels = about(bench) if bench.config.runs is None else {}
    bench.folder.update_summary(task="landscape", **labels, versions=versions(), git_commit=git_commit())


def run_landscape(bench: Workbench) -> dict[str, Any]:
    """Measure the points that landscape.csv lacks; write figures and summary, and return the summary.

    Raises:
        Interrupted: The user stopped it; the folder can be resumed.
    """
    try:
        found, seconds, goal = _measure(bench)
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped in the landscape; continue with {bench.folder.command()}") from error
    note_goal(bench.folder, goal)
    _show(found, goal)
    screen().print(f"run folder: {bench.folder}", highlight=False, soft_wrap=True)
    return bench.folder.update_summary(landscape={**found, "seconds_per_point": seconds})


def _measure(bench: Workbench) -> tuple[dict[str, Any], float | None, Goal]:
    """Return the section `landscape` of the summary, the mean seconds per point of this process, and the metric."""
    settings = bench.config.landscape or LandscapeConfig()
    points = grid(settings.steps, settings.radius)
    # Coordinates are compared as text: `grid` is deterministic, and the table holds their shortest exact form.
    done = {(row["run"], row["x"], row["y"]) for row in bench.folder.repair_landscape()}
    around = [Surroundings(bench, path) for path in _paths(bench)]
    goal = around[0].goal
    seconds, count = 0.0, 0
    for one in around:
        left = [(x, y) for x, y in points if (one.path, str(x), str(y)) not in done]
        if not left:
            continue
        model = one.model()

        def measure(arch: Tensors, one: Surroundings = one, model: OneShotModel = model) -> tuple[float, float]:
            loss, value = model.loss_and_accuracy(*one.module.at_mean(arch), one.batches)
            return loss, goal.sign * value

        start = time.perf_counter()
        track = track_progress(left, f"landscape, {one.title}: points to measure")
        for x, y, (loss, value) in over_plane(measure, one.arch, one.plane, track):
            bench.folder.append_landscape({"run": one.path, "x": x, "y": y, "loss": loss, goal.word: value})
        seconds, count = seconds + time.perf_counter() - start, count + len(left)
    rows = [_parsed(row) for row in bench.folder.repair_landscape()]
    _draw(bench, around, rows)
    found = {
        "directions": {"seed": settings.seed, "shapes": {name: list(s) for name, s in around[0].shapes.items()}},
        "grid": {"steps": settings.steps, "radius": settings.radius},
        "images": {"split": "val", "at_most": settings.images},
        "batch_norm": "running statistics",
        "limits": {name: limits([row[name] for row in rows]) for name in ("loss", goal.word)},
        "runs": [_run_section(one, [row for row in rows if row["run"] == one.path]) for one in around],
    }
    return json.loads(json.dumps(found)), round(seconds / count, 4) if count else None, goal


def _run_section(one: Surroundings, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entry of one run in the summary."""
    settings, config = one.settings, one.bench.config
    x, y = ([row[key] for row in rows] for key in ("x", "y"))
    (centre,) = (row for row in rows if row["x"] == row["y"] == 0)
    found: dict[str, Any] = {
        "run": one.path,
        "method": config.method,
        "space": one.bench.space.name,
        "data": one.bench.data.name,
        "seed": config.seed,
        "epoch": one.epoch,
        "centre": {name: centre[name] for name in ("loss", one.goal.word)},
    }
    width = 2 * settings.radius / (settings.steps - 1)
    for name in ("loss", one.goal.word):
        values = [row[name] for row in rows]
        around = {f"{part:g}": at_distance(x, y, values, part * settings.radius, width) for part in FRACTIONS}
        found[name] = {**asdict(anisotropy(x, y, values)), "mean_at_radius": around}
    return found


def _draw(bench: Workbench, around: Sequence[Surroundings], rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    goal = around[0].goal
    labels = {"loss": "loss on val", goal.word: goal.axis(f"{goal.name} on val")}
    titles = {one.path: f"{one.title}, after {one.epoch} epochs" for one in around}
    return save_landscape(rows, titles, labels, bench.folder.plots)


def _show(found: Mapping[str, Any], goal: Goal) -> None:
    """Print the numbers of all runs."""
    lines = []
    for run in found["runs"]:
        loss, at = run["loss"], run[goal.word]["mean_at_radius"]
        ratio = "–" if loss["ratio"] is None else f"{loss['ratio']:.2f}{' (saddle)' if loss['saddle'] else ''}"
        lines.append(
            [
                f"{run['method']}, seed {run['seed']}",
                f"{run['centre']['loss']:.3f}",
                " and ".join(f"{value:.4g}" for value in loss["curvatures"]),
                ratio,
                "–" if loss["explained"] is None else f"{100 * loss['explained']:.0f} %",
                goal.shown(run["centre"][goal.word]),
                " · ".join(goal.number(value, 1) for value in at.values()),
            ]
        )
    show_table(
        "landscape around the architecture parameters found",
        ["run", "loss", "its curvatures", "ratio", "R²", goal.name, f"at {', '.join(at)} of the radius"],
        lines,
        "curvatures of the least-squares quadratic of the loss, R² its share of the variance; distances are L2",
    )


def _paths(bench: Workbench) -> list[str]:
    """Return the folders of the runs, as config.yaml names them."""
    runs = bench.config.runs
    return [bench.config.run or ""] if runs is None else [runs] if isinstance(runs, str) else runs


def _parsed(row: Mapping[str, str]) -> dict[str, Any]:
    """Convert a row of the table from text to its types."""
    return {key: value if key == "run" else float(value) for key, value in row.items()}
