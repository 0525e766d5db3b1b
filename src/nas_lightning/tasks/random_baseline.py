"""Train random genotypes by the recipe of a run, to compare its accuracy with (`evaluation.random_baseline`).

Yang et al. (ICLR 2020) and Li & Talwalkar (UAI 2019): an accuracy says little about a search until random architectures
of the space were trained by the same recipe.

Member K is the run of `task=evaluate genotype=random seed=K`: genotype and training depend on K alone, neither on the
search nor on the seed of the run. So runs of other methods and seeds use the same members, which are trained once and
kept (`runs.kept_results`). Each has its own run folder and is resumed like any run.
"""

import logging
import statistics
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from nas_lightning.config.aliases import identity
from nas_lightning.config.schema import validate
from nas_lightning.core import ranks
from nas_lightning.core.objective import ACCURACY, Goal
from nas_lightning.core.paths import path_of
from nas_lightning.core.terminal import screen
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.kept_results import KeptResults
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.tasks.identity import evaluation_identity
from nas_lightning.tasks.images import checked_record
from nas_lightning.tasks.members import stopping_in
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)

SECTION = "random_baseline"
"""Key of the configuration below `evaluation`, and of the summary below `evaluation`."""
FOLDER = "random_folder"
"""Key of the folder of kept results below `evaluation`."""


def begun(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the summary holds before the first member: a run with it is not finished.

    Args:
        evaluation: The section `evaluation` of the configuration.

    Returns:
        `random_baseline` with the number of members wanted and the folder of kept results; empty without a baseline.
    """
    number = evaluation.get(SECTION) or 0
    if not number:
        return {}
    folder = evaluation.get(FOLDER)
    # Absolute, as the places of images: a resume may start in another working folder.
    return {SECTION: _with_statistics({"number": number, "folder": folder and str(path_of(folder).resolve())}, [])}


def run_baseline(
    bench: Workbench, section: Mapping[str, Any], run_member: Callable[[Workbench], dict[str, Any]]
) -> dict[str, Any]:
    """Train the members that are missing, or take them from kept results; return the summary.

    Args:
        bench: The workbench of the whole run.
        section: The section `evaluation` of its summary.
        run_member: Runs or resumes a member in its folder and returns its summary.

    Raises:
        Interrupted: The user stopped a member; the whole run can be resumed.
    """
    baseline = dict(section[SECTION])
    kept, (_, images) = KeptResults(baseline["folder"]), checked_record(bench)
    members = list(baseline["members"])
    summary = bench.folder.summary()
    for seed in range(len(members), baseline["number"]):
        member = member_bench(bench, seed)
        decided_by = what_decides(member, images)
        # Other ranks could find what rank 0 did not: a result that another run keeps in between.
        found = ranks.agreed(None if member.folder.holds_run else kept.find(decided_by))
        if found is None:
            with stopping_in(f"random genotype {seed}", bench.folder):
                found = _result(run_member(member))
            if ranks.is_first() and _value(found) is not None:  # None where the Trainer limits the test to nothing
                kept.keep(decided_by, found)
            members.append({"seed": seed, **found, "reused": False})
        else:
            log.info("random genotype %d: result kept in %s", seed, kept.path(decided_by))
            if ranks.is_first():
                screen().print(f"random genotype {seed}: trained before", highlight=False, soft_wrap=True)
            members.append({"seed": seed, **found, "reused": True})
        baseline = _with_statistics(baseline, members, Goal.of(summary))
        summary = bench.folder.update_summary(evaluation={**section, SECTION: baseline})
    return summary


def member_bench(bench: Workbench, seed: int) -> Workbench:
    """Return the workbench of a member: the evaluation of a random genotype, alone."""
    config = bench.config.to_dict()
    config |= {"task": "evaluate", "genotype": "random", "seed": seed, "run": None, "epoch": None}
    config |= {"readings": {}, "methods": []}
    config["candidates"] = {**config["candidates"], "key": None, "values": None, "evaluation": None}
    config["evaluation"] = {**config["evaluation"], SECTION: 0}
    return bench.variant(validate(config), RunFolder(bench.folder.random_baseline / str(seed)))


def what_decides(member: Workbench, images: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides the accuracy of a member, up to rounding on another device.

    Args:
        member: Its workbench.
        images: Fingerprint of the images and of the files beside them.
    """
    seed = member.config.seed
    return {
        "seed": seed,
        "genotype": random_genotype(member.space, seed).to_dict(),
        **identity(evaluation_identity(member.config.to_dict())),
        "images": images,
        "versions": {package: metadata.version(package) for package in ("nas-lightning", "torch")},
    }


def _result(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a member: value of the metric on the split of the recipe, size, seconds."""
    evaluation, goal = summary["evaluation"], Goal.of(summary)
    tested = goal.value(evaluation, "test")
    return {
        goal.word: goal.value(evaluation, "val") if tested is None else tested,
        **{key: evaluation.get(key) for key in ("params", "macs", "seconds")},
    }


def _value(member: Mapping[str, Any]) -> float | None:
    return member["metric"] if "metric" in member else member["accuracy"]


def _with_statistics(
    baseline: Mapping[str, Any], members: list[dict[str, Any]], goal: Goal = ACCURACY
) -> dict[str, Any]:
    """Return the section with its members, their mean, and the standard deviation of a sample, in their unit."""
    known = [value for member in members if (value := _value(member)) is not None]
    return {
        "number": baseline["number"],
        "folder": baseline["folder"],
        "mean": goal.rounded(statistics.fmean(known)) if known else None,
        "std": goal.rounded(statistics.stdev(known)) if len(known) > 1 else None,
        "members": members,
    }
