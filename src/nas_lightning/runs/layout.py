"""Names of the files that a run leaves in its folder. Exports and reports name their files where they make them."""

from collections.abc import Iterator
from pathlib import Path

from nas_lightning.core import ranks
from nas_lightning.core.genotypes import FILE as GENOTYPE_FILE
from nas_lightning.core.split_lists import FILE as SPLIT_FILE

CONFIG = "config.yaml"
SUMMARY = "summary.json"
METRICS = "metrics.csv"
CURVATURE = "curvature.csv"
GENOTYPES = "genotypes.jsonl"
GENOTYPE = GENOTYPE_FILE  # core/ reads a genotype from any file and stands below this room
DECISIONS = "decisions.csv"
POOL = "pool.jsonl"
GENERATIONS = "generations.csv"
TRAJECTORY = "trajectory.csv"
RANDOM_SEARCH = "random_search.csv"
NETWORK = "network.json"
LOGGERS = "loggers.json"
DATA = "data.json"
SPLIT = SPLIT_FILE  # likewise
LOG = "run.log"

ANALYSIS = "analysis.csv"
LANDSCAPE = "landscape.csv"
PREDICTIONS = "predictions.csv"
COSTS = "costs.json"
PLAN = "plan.csv"
STEPS = "steps.csv"
SWEEP = "sweep.csv"

CHECKPOINTS = "checkpoints"
PLOTS = "plots"
CANDIDATES = "candidates"
READINGS = "readings"
METHODS = "methods"
RANDOM_BASELINE = "random_baseline"
WITHIN_RUNS = (CANDIDATES, RANDOM_BASELINE)
"""Folders with run folders that are parts of a run, and are not counted as runs."""
PARTS = (*WITHIN_RUNS, READINGS, METHODS)
"""Folders with run folders that are parts of a run; reports count some of them as runs, under their names."""

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
NEXT = "next.ckpt"
DAMAGED = "damaged.ckpt"
NONFINITE = "nonfinite.ckpt"
EVALUATED = f"evaluation/{LAST}"
"""The last checkpoint of the evaluation, below `checkpoints`."""


def log_name() -> str:
    """Return the name of the log of this rank: `run.log` for rank 0, `run.rank1.log` for rank 1."""
    return LOG if ranks.is_first() else f"run.rank{ranks.rank()}.log"


def epoch_name(epoch: int | None) -> str:
    """Return the name of the checkpoint after `epoch` search epochs."""
    return f"epoch={epoch}.ckpt"


def epoch_checkpoints(checkpoints: Path) -> Iterator[tuple[int, Path]]:
    """Yield the epoch and the path of every kept checkpoint of a search epoch, in no particular order."""
    for path in checkpoints.glob("epoch=*.ckpt"):
        epoch = path.stem.partition("=")[2]
        if epoch.isdecimal():
            yield int(epoch), path
