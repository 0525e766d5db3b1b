"""Methods over six seeds in a reduced NAS-Bench-201 where α gets far: the runs behind a table of docs/results.md.

As in `benchmarks.nasbench201_methods` the supernet has one cell a stage, 8 channels and images of 16×16 pixels, and the
cell is looked up in the table. Here the search has 4,000 images (halves of 2,000), 8 epochs of 31 steps, and an
architecture learning rate of 0.1: over 248 steps Adam can move α by 25, over the published 19,500 steps of 3e-4 by 6.
Schedules that are counted in epochs are cut in the published proportions.

`python -m benchmarks.nasbench201_seeds --data IMAGES.npz --jobs 2` runs what is not finished yet, seed by seed;
`python run.py task=report runs='outputs/nasbench201_seeds/**' baseline=darts` makes the table. About a minute of one
core a run.
"""

import argparse
from pathlib import Path

from benchmarks.members import run_all

SHARED = [
    "experiment=nasbench201_reduced",
    "data=arrays",
    "data.image_size=16",
    "evaluation.dataset=cifar10",
    "search.epochs=8",
    "search.arch.lr=0.1",
    "~callbacks.curvature",
    "trainer.limit_val_batches=8",
    "trainer.enable_progress_bar=false",
]
POOL = ["candidates.key=null", "candidates.values=null", "candidates.levels=[12]"]
METHODS: dict[str, list[str]] = {
    "darts": [],
    "sdarts_rs": [],
    "noisy_darts": [],
    "drnas": [],
    "beta_darts": ["regularizer.beta_decay.epochs=8"],
    "darts_minus": [],
    "darts_plus": [],
    "gaea": [],
    "gaea_erm": [],
    "fair_darts": ["selector=magnitude"],
    "gdas": [],
    "dsnas": [],
    "oles": [],
    "idarts": [],
    "pc_darts": ["search.arch.warmup_epochs=2"],
    "sgas": ["control.greedy_decisions.first_epoch=1", "control.greedy_decisions.interval=1"],
    "darts_pt": ["selector.tune_epochs=1"],
    **{name: [*POOL, "candidates.pool=100"] for name in ("evolution", "local_search", "bananas")},
    "random_search": [*POOL, "proposer@candidates.proposer=random", "candidates.pool=10", "candidates.initial=10"],
    "rank_nosh": ["candidates.levels=[12,200]"],
}
"""The methods and what of their schedules is cut to 8 epochs; FairDARTS' threshold selects nothing after so few.

The last five train no supernet: they look candidates up after 12 epochs, RANK-NOSH the best of them after 200, too.
"""


def members(data: Path, seeds: range, methods: list[str]) -> list[tuple[str, list[str]]]:
    """Folder and overrides of each run, one seed of all methods after the other."""
    shared = [*SHARED, f"data.path={data.resolve()}"]
    return [(f"{m}-seed{s}", [f"method={m}", f"seed={s}", *shared, *METHODS[m]]) for s in seeds for m in methods]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="images as one .npz file")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; each takes one core")
    parser.add_argument("--seeds", type=int, default=6, help="seeds 1 to N (default: %(default)s)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--folder", type=Path, default=Path("outputs/nasbench201_seeds"), help="where the runs are")
    arguments = parser.parse_args()
    run_all(members(arguments.data, range(1, arguments.seeds + 1), arguments.methods), arguments.folder, arguments.jobs)


if __name__ == "__main__":
    main()
