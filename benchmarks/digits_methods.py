"""Every method on the built-in digits, in S2 and S3: the runs behind the table of docs/results.md.

`python -m benchmarks.digits_methods --jobs 2` runs what is not finished yet and goes on where a run was cut off; then
`python run.py task=report runs='outputs/digits_methods/**'` makes the table. About two hours of one core.
"""

import argparse
from pathlib import Path

from benchmarks.members import run_all

SPACES = ("s3", "s2")
TWO_SEEDS = (
    "darts", "darts_es", "sdarts_rs", "noisy_darts", "darts_2nd", "darts_ada", "noisy_darts_nfa", "rs_ws",
    "random_search", "sdarts_adv", "rdarts_l2", "rdarts_dp",
)  # fmt: skip
FOUR_SEEDS = ("darts", "darts_es", "sdarts_rs", "noisy_darts")
OWN = {"rdarts_l2": ["hypergradient=first_order"], "rdarts_dp": ["hypergradient=first_order"]}
"""Four second-order searches a run would take as long as all the rest."""


def members() -> list[tuple[str, list[str]]]:
    """Folder and overrides of each run, the seeds that every method has first."""
    first = [(method, space, seed) for method in TWO_SEEDS for space in SPACES for seed in (0, 1)]
    more = [(method, space, seed) for method in FOUR_SEEDS for space in SPACES for seed in (2, 3)]
    return [
        (
            f"{method}-{space}-seed{seed}",
            [f"method={method}", f"space={space}", f"seed={seed}", "experiment=digits_short", *OWN.get(method, [])],
        )
        for method, space, seed in first + more
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; each takes one core")
    parser.add_argument("--folder", type=Path, default=Path("outputs/digits_methods"), help="where the runs are")
    arguments = parser.parse_args()
    run_all(members(), arguments.folder, arguments.jobs)


if __name__ == "__main__":
    main()
