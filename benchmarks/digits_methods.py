"""Every method on the built-in digits, in S2 and S3: the runs behind the table of docs/results.md.

`python -m benchmarks.digits_methods --jobs 2` runs what is not finished yet and goes on where a run was cut off; then
`python run.py task=report runs='outputs/digits_methods/**'` makes the table. About two hours of one core.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
SPACES = ("s3", "s2")
TWO_SEEDS = (
    "darts", "darts_es", "sdarts_rs", "noisy_darts", "darts_2nd", "darts_ada", "noisy_darts_nfa", "rs_ws",
    "random_search", "sdarts_adv", "rdarts_l2", "rdarts_dp",
)  # fmt: skip
FOUR_SEEDS = ("darts", "darts_es", "sdarts_rs", "noisy_darts")
OWN = {"rdarts_l2": ["hypergradient=first_order"], "rdarts_dp": ["hypergradient=first_order"]}
"""Four second-order searches a run would take as long as all the rest."""


def members() -> list[tuple[str, str, int]]:
    """Method, space and seed of each run, the seeds that every method has first."""
    first = [(method, space, seed) for method in TWO_SEEDS for space in SPACES for seed in (0, 1)]
    return first + [(method, space, seed) for method in FOUR_SEEDS for space in SPACES for seed in (2, 3)]


def run(member: tuple[str, str, int], folder: Path) -> str:
    """Run a member, or what is left of it; returns a line on how it ended."""
    method, space, seed = member
    home = folder / f"{method}-{space}-seed{seed}"
    if (home / "summary.json").exists() and json.loads((home / "summary.json").read_text())["evaluation"]:
        return f"{home.name}: finished before"
    words = [f"method={method}", f"space={space}", f"seed={seed}", f"hydra.run.dir={home}", "experiment=digits_short"]
    words += OWN.get(method, [])
    if (home / "config.yaml").exists():
        words = [f"resume={home}"]
    ended = subprocess.run([sys.executable, ROOT / "run.py", *words], capture_output=True, text=True, check=False)
    return f"{home.name}: {'done' if ended.returncode == 0 else f'exit {ended.returncode}: {ended.stderr.strip()}'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; each takes one core")
    parser.add_argument("--folder", type=Path, default=Path("outputs/digits_methods"), help="where the runs are")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for line in pool.map(lambda member: run(member, folder), members()):
            print(line, flush=True)


if __name__ == "__main__":
    main()
