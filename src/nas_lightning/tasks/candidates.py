"""Search several times, retrain each genotype briefly and keep the best (`candidates`).

The protocol of the DARTS family: several searches that differ in their seed (best of four) or in the strength of
regularisation (R-DARTS). Each genotype is trained briefly on the train half and compared on `val`; the test images
are not used for the choice. Each member has its own run folder and is resumed or skipped like any run.
"""

import copy
from collections.abc import Callable
from typing import Any

from nas_lightning.config.schema import assign, validate
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.reports import run_title, save_genotype
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.members import stopping_in
from nas_lightning.training.workbench import Workbench

SHARED_SECTIONS = (
    *(
        "task",
        "method",
        "genotype",
        "runs",
        "sweep",
        "sweep_limit",
        "tags",
        "skip_finished",
        "trusted",
        "candidates",
        "engine",
        "graph",
        "threads",
    ),
    *("space", "data", "objective", "evaluation", "trainer", "logger", "callbacks"),
)
"""Sections that cannot differ between members: they define the run and how its members are compared."""


def member_benches(bench: Workbench) -> list[Workbench]:
    """Return a workbench per member, configured for its search and brief retraining.

    Raises:
        ConfigError: A key does not exist or cannot differ between members, or a value is not allowed for it.
    """
    members = bench.config.candidates.members()
    if members:
        _check_retraining(bench)
    benches = []
    for index, changes in enumerate(members):
        config = bench.config.to_dict()
        for key, value in changes.items():
            shared = key.split(".")[0] in SHARED_SECTIONS
            # A whole section as a value could replace its `_target_` and with it the comparison.
            if shared or isinstance(assign(config, key, value, "candidates: a member has"), dict):
                raise ConfigError(
                    f"candidates.key={key}: members cannot differ in it, or they could not be compared; use"
                    " seed, or a value of search, relaxation, hypergradient, perturbation, regularizer, control or"
                    " selector"
                )
        brief: dict[str, Any] = {"images": "search_halves", "epochs": bench.config.candidates.epochs}
        retraining = copy.deepcopy(_retraining(bench))
        if "random_baseline" in retraining:  # of the whole run, not of each member
            brief["random_baseline"] = 0
        config["evaluation"] = {**retraining, **brief}
        config |= {"task": "pipeline", "candidates": {"key": None, "values": None, "epochs": 1}, "methods": []}
        benches.append(bench.variant(validate(config), RunFolder(bench.folder.candidates / str(index))))
    return benches


def _retraining(bench: Workbench) -> dict[str, Any]:
    """Return the evaluator section of the members: their own, or that of the run."""
    return bench.config.candidates.evaluation or bench.config.evaluation


def _check_retraining(bench: Workbench) -> None:
    """Refuse an evaluation that cannot compare members by brief retraining.

    Raises:
        ConfigError: It cannot, or the learning rate still warms up when the brief retraining ends.
    """
    retraining = _retraining(bench)
    own = bench.config.candidates.evaluation is not None
    evaluator = bench.build("candidates.evaluation" if own else "evaluation", retraining)
    if "images" not in retraining and not evaluator.trains_briefly:
        raise ConfigError(
            "candidates.key: members are compared by brief retraining, which this evaluation cannot do; use one"
            " that trains, for instance evaluation=digits, or for the members alone"
            " evaluation@candidates.evaluation=digits"
        )
    epochs, warmup = bench.config.candidates.epochs, retraining.get("warmup_epochs", 0)
    if warmup >= epochs:
        raise ConfigError(
            f"candidates.epochs={epochs}: the learning rate warms up for {warmup} epochs; use"
            f" candidates.epochs={warmup + 1} or more"
        )


def run_candidates(
    bench: Workbench, run_member: Callable[[Workbench], dict[str, Any]]
) -> tuple[Genotype, dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Run every member that is not finished and keep the genotype of the best.

    Args:
        bench: The workbench of the whole run.
        run_member: Runs or resumes a member in its folder and returns its summary.

    Returns:
        The genotype of the best member; the sections `search` and `selection` of the summary, with the seconds and
        images of all members added up; and a record per member.

    Raises:
        Interrupted: The user stopped a member; the whole run can be resumed.
        ConfigError: No member could be measured.
    """
    records: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = []
    members, goal = bench.config.candidates.members(), bench.objective.goal
    for index, (changes, member) in enumerate(zip(members, member_benches(bench), strict=True)):
        with stopping_in(f"candidate {index}", bench.folder):
            summary = run_member(member)
        summaries.append(summary)
        records.append(
            {
                "index": index,
                "values": changes,
                **goal.entries("val", goal.value(summary["evaluation"], "val")),
                "genotype": summary["genotype"],
                "search_seconds": summary["search"]["seconds"],
                "retraining_seconds": summary["evaluation"]["seconds"],
                "dominant_eigenvalue": summary["search"]["dominant_eigenvalue"],
                "chosen": False,
            }
        )
    measured = [entry for entry in records if entry[goal.key("val")] is not None]
    if not measured:
        raise ConfigError(f"candidates: no member has a {goal.metric} on val; let the evaluation validate")
    best = max(measured, key=lambda entry: goal.sign * entry[goal.key("val")])  # max keeps the first of ties
    best["chosen"] = True
    chosen = summaries[best["index"]]
    genotype = Genotype.from_dict(chosen["genotype"])
    bench.folder.save_genotype(genotype)
    if ranks.is_first():
        save_genotype(genotype, bench.folder.plots, run_title(bench.folder.summary()))
    search = {**chosen["search"], "seconds": _total(summaries, "search", "seconds")}
    search["images"] = _images(summaries, "search")
    if chosen["search"]["curvature_seconds"] is not None:
        search["curvature_seconds"] = _total(summaries, "search", "curvature_seconds")
    # A retraining makes one pass over val per epoch, and one for its final measurement.
    passes = _total(summaries, "evaluation", "epochs") + len(summaries)
    selection = {
        "seconds": round(_total(summaries, "selection", "seconds") + _total(summaries, "evaluation", "seconds"), 3),
        "validation_passes": round(_total(summaries, "selection", "validation_passes") + passes, 2),
        "images": _images(summaries, "selection", "evaluation"),
    }
    return genotype, search, selection, records


def _total(summaries: list[dict[str, Any]], section: str, name: str) -> float:
    return round(sum(summary[section][name] or 0 for summary in summaries), 3)


def _images(summaries: list[dict[str, Any]], *sections: str) -> int | None:
    """Return the images that the training steps of all members read; None where one of before did not count them."""
    found = [summary[section].get("images") for summary in summaries for section in sections]
    return None if None in found else sum(found)
