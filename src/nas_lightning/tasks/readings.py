"""Read the supernet of a search again by other selectors (`readings`), and compare what they find.

The comparison of Wang et al. (DARTS-PT, ICLR 2021): one supernet, several selections. Each reading is a run folder of
`task=select` with the configuration of the search, in `readings/NAME`; it is resumed or skipped like any run, and its
genotype is evaluated as that of the search.
"""

import copy
from collections.abc import Callable
from typing import Any

from nas_lightning.config.schema import validate
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.members import stopping_in
from nas_lightning.training.workbench import Workbench

KEPT = ("genotype", "selection", "evaluation")
"""Sections of a reading's summary that the summary of the search repeats."""


def reading_benches(bench: Workbench) -> dict[str, Workbench]:
    """Return a workbench for each reading, by its name; the name stands for the method.

    Raises:
        ConfigError: The search trains no supernet, or several.
    """
    readings = bench.config.readings
    if not readings:
        return {}
    name = next(iter(readings))
    if bench.config.method in readings:
        raise ConfigError(
            f"readings.{bench.config.method}: is the method of the search, whose own selection has this name; give the"
            f" reading another, +selector@readings.NAME=SELECTOR"
        )
    if not bench.selector.needs_supernet:
        raise ConfigError(f"readings.{name}: no supernet is trained, which it could read; remove it, ~readings.{name}")
    if bench.config.candidates.key is not None:  # of a pool no supernet is trained, which is refused above
        raise ConfigError(
            f"readings.{name}: reads one supernet, and candidates.key={bench.config.candidates.key} trains several; use"
            " candidates.key=null candidates.values=null"
        )
    benches = {}
    for label, selector in readings.items():
        config = bench.config.to_dict()
        config |= {"task": "select", "run": str(bench.folder.path), "method": label, "readings": {}, "methods": []}
        config["selector"] = copy.deepcopy(selector)
        if "random_baseline" in config["evaluation"]:  # of the whole run, not of each reading
            config["evaluation"] = {**config["evaluation"], "random_baseline": 0}
        benches[label] = bench.variant(validate(config), RunFolder(bench.folder.readings / label))
    return benches


def run_readings(
    bench: Workbench,
    run_member: Callable[[Workbench], dict[str, Any]],
    evaluate: Callable[[Workbench, Genotype], dict[str, Any]],
) -> dict[str, Any]:
    """Run every reading that is not finished; return the section `readings` of the summary.

    Args:
        bench: The workbench of the search, which is finished.
        run_member: Runs or resumes the selection of a reading in its folder and returns its summary.
        evaluate: Evaluates the genotype of a reading in its folder and returns its summary.

    Raises:
        Interrupted: The user stopped a reading; the whole run can be resumed.
    """
    found = {}
    for name, member in reading_benches(bench).items():
        with stopping_in(f"reading {name}", bench.folder):
            summary = run_member(member)
            if bench.config.task == "pipeline" and summary["evaluation"] is None:
                summary = evaluate(member, Genotype.from_dict(summary["genotype"]))
        found[name] = {key: summary[key] for key in KEPT}
    return found
