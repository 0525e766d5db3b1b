"""Every method in a reduced NAS-Bench-201 supernet, its cell looked up in the table: the runs behind docs/results.md.

`python -m benchmarks.nasbench201_methods --data IMAGES.npz --jobs 2` runs what is not finished yet and goes on where a
run was cut off; `python run.py task=report runs='outputs/nasbench201_methods/**'` makes the table. IMAGES.npz: 2,000
training images of CIFAR-10 (`data=arrays`). The cells are looked up in the table that comes with the package, or in
another (`--table`). A minute or two of one core a run.
"""

import argparse
from pathlib import Path

from benchmarks.members import run_all

PARTIAL = ["search.arch.warmup_epochs=5"]
SGAS = ["control.greedy_decisions.first_epoch=2", "control.greedy_decisions.interval=2"]
PT = ["selector.tune_epochs=1"]
STAGES = (
    "search.stages=[{name: five, epochs: 8}, {name: three, epochs: 8, overrides:"
    " {control.progressive_shrinking.options: 3, regularizer.partial_channels.divisor: 2}}]"
)
METHODS: dict[str, list[str]] = {
    "darts": [],
    "sdarts_rs": [],
    "noisy_darts": [],
    "drnas": [],
    "drnas_progressive": [STAGES, "search.arch.warmup_epochs=3"],
    "pc_darts": PARTIAL,
    "pc_sdarts_rs": PARTIAL,
    "gdas": [],
    "snas": [],
    "sgas": SGAS,
    "sgas_cri2": SGAS,
    "darts_pt": PT,
    "darts_pt_fixed_alpha": PT,
    "sdarts_rs_pt": PT,
    "sgas_pt": SGAS,
    "noisy_darts_pt": PT,
    "setn": ["selector.batches=4"],
    "rsps": ["selector.batches=4"],
    "pc_sdarts_adv": [*PARTIAL, "perturbation.steps=3"],
    "darts_2nd": [],
}
"""The methods and what of their schedules is cut to 16 epochs in the published proportions."""


def members(data: Path, table: Path | None) -> list[tuple[str, list[str]]]:
    """Folder and overrides of each run, one seed of all methods after the other, the slowest last."""
    shared = ["experiment=nasbench201_reduced", "data=arrays", f"data.path={data.resolve()}", "data.image_size=16"]
    shared += [
        *([] if table is None else [f"evaluation.path={table.resolve()}"]),
        "evaluation.dataset=cifar10",
        "callbacks.curvature.interval=15",
        "trainer.limit_val_batches=4",
    ]
    slow = ("pc_sdarts_adv", "darts_2nd")
    order = [(m, s) for s in (1, 2, 3) for m in METHODS if m not in slow] + [(m, s) for s in (1, 2, 3) for m in slow]
    return [(f"{m}-seed{s}", [f"method={m}", f"seed={s}", *shared, *METHODS[m]]) for m, s in order]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="images as one .npz file")
    parser.add_argument("--table", type=Path, help="accuracies of all cells (default: those of the package)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; each takes one core")
    parser.add_argument("--folder", type=Path, default=Path("outputs/nasbench201_methods"), help="where the runs are")
    arguments = parser.parse_args()
    run_all(members(arguments.data, arguments.table), arguments.folder, arguments.jobs)


if __name__ == "__main__":
    main()
