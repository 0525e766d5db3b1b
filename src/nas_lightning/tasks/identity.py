"""Identity of a run: the part of its summary by which reports group runs."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nas_lightning.config.aliases import identity
from nas_lightning.config.schema import IGNORED_IN_COMPARISONS, NEUTRAL
from nas_lightning.config.sections import LOADING_KEYS, MOVABLE
from nas_lightning.core.genotype_texts import is_text_of_genotype
from nas_lightning.core.paths import is_directory
from nas_lightning.runs import layout
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.versions import git_commit, versions
from nas_lightning.spaces.published import published_name
from nas_lightning.tasks.images import file_hashes
from nas_lightning.tasks.select import is_looked_up
from nas_lightning.training.places import places_of
from nas_lightning.training.processes import number_of_processes
from nas_lightning.training.workbench import Workbench


def name_run(bench: Workbench) -> None:
    """Write the identity of the run to its summary."""
    plain = bench.config.to_dict()
    bench.folder.update_summary(
        task=bench.config.task,
        method=_label(bench),
        space=bench.space.name,
        data=bench.data.name,
        seed=bench.config.seed,
        objective=bench.objective.goal.to_dict(),
        versions=versions(),
        git_commit=git_commit(),
        config_hash=comparable_hash(plain, file_hashes(places_of(plain, bench.places))),
        **begun(bench),
    )


def begun(bench: Workbench) -> dict[str, Any]:
    """Return the sections of the summary that are filled last, empty: a run with an empty one is not finished."""
    config = bench.config
    if is_looked_up(bench):
        return {"evaluation": {}}
    wanted = {"readings": config.readings, "methods": config.further_methods()}
    return {name: {} for name, members in wanted.items() if members and config.task in ("pipeline", "search")}


def ensure_named(bench: Workbench, name: Callable[[Workbench], None] = name_run) -> None:
    """Call `name` if there is no summary: the run was killed after `claim` and before it was named."""
    if not (bench.folder.path / layout.SUMMARY).exists():
        name(bench)


def _label(bench: Workbench) -> str:
    """Return the method; for `task=evaluate`, the method of the run or the name that the genotype comes from."""
    name = bench.config.genotype
    if bench.config.task != "evaluate" or name is None:
        return bench.config.method
    summary = RunFolder(name).summary() if is_directory(name) else {}
    if is_text_of_genotype(name):  # different ones must not be averaged
        return f"genotype-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
    return summary.get("method") or published_name(name) or Path(name).stem


DECISIVE = (
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches", "fast_dev_run"),
    *("precision", "sync_batchnorm"),
)
"""Arguments of the Trainer that affect results."""


def _decisive(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in NEUTRAL}


def decisive_trainer(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the Trainer that affect results, where they are not at their default."""
    # To Lightning the integer 1 is one batch, and 1.0 all of them.
    decisive = {
        key: value
        for key in DECISIVE
        if (value := trainer.get(key)) not in (None, False, 0, 1.0, "32-true", "32") or (type(value), value) == (int, 1)
    }
    count = number_of_processes(trainer)
    return {**decisive, **({"processes": count} if count > 1 else {})}


def decisive_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section `data` without the place of the images and how they are loaded."""
    return {key: value for key, value in data.items() if key not in (*LOADING_KEYS, "root", "download")}


def evaluation_identity(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that decides the accuracy of a genotype trained with it, without the seed.

    Where the images lie is left out: their fingerprint says what they are. Callbacks of others may change a training.
    """
    foreign = {
        name: part for name, part in plain["callbacks"].items() if not part["_target_"].startswith("nas_lightning.")
    }
    places = [key.partition(".")[2] for key in MOVABLE if key.startswith("data.")]
    return {
        **{key: plain[key] for key in ("space", "objective")},
        "data": {key: value for key, value in decisive_data(plain["data"]).items() if key not in places},
        "evaluation": _decisive(plain["evaluation"]),
        "trainer": decisive_trainer(plain["trainer"]),
        **({"callbacks": foreign} if foreign else {}),
    }


def comparable_hash(plain: Mapping[str, Any], files: Mapping[str, str] | None = None) -> str:
    """Hash what runs must share in their configuration to be averaged: all that affects results, without the seed.

    Args:
        plain: The configuration.
        files: What `tasks.images.file_hashes` returns: a list of images is compared by its content.
    """
    shared = {key: value for key, value in plain.items() if key not in IGNORED_IN_COMPARISONS}
    decisive = decisive_trainer(plain["trainer"])
    shared |= {"trainer": decisive} if decisive else {}
    if plain["control"]:  # controls act on what callbacks measure, so callbacks affect results
        shared["callbacks"] = plain["callbacks"]
    # Checkpoint times and graphs do not affect results, and older configurations lack the keys.
    for section in ("search", "evaluation"):
        shared[section] = _decisive(plain[section])
    if shared.get("candidates") and shared["candidates"].get("evaluation"):
        shared["candidates"] = {**plain["candidates"], "evaluation": _decisive(plain["candidates"]["evaluation"])}
    shared["data"] = {
        key: value for key, value in decisive_data(plain["data"]).items() if f"data.{key}" not in IGNORED_IN_COMPARISONS
    }
    if files and "data.search_split" in files:
        shared["data"]["search_split"] = files["data.search_split"]
    return hashlib.blake2b(json.dumps(identity(shared), sort_keys=True).encode(), digest_size=4).hexdigest()
