"""All that is worth measuring while a GPU is at hand, in order of worth; saves as it goes and goes on where it stopped.

    tests        `make test-gpu`: GPU against CPU, graphs against eager code
    steps        search steps, eager and by graphs (`benchmarks.search_step --graph`)
    busy         kernels and busy time of a step (`benchmarks.busy`)
    retraining   steps of the retraining (`benchmarks.evaluation_step`)
    search       the published search of 50 epochs in the DARTS space, with validation and curvature, by graphs
    methods      methods in NAS-Bench-201 at its published size, each cell looked up in the table

`python -m benchmarks.gpu --images cifar10.npz --minutes 25` writes a log and numbers of each part to
`--folder`. What has ended well is skipped, searches are resumed, and nothing is begun after the minutes are over.
IMAGES.npz: the training images of CIFAR-10 (`data=arrays`).
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.members import ROOT, run

METHODS = ("darts", "drnas", "pc_darts", "gdas", "snas", "noisy_darts", "sdarts_rs", "darts_pt", "darts_2nd")
SEEDS = (0, 1, 2)


class Session:
    """Parts that run one after the other until the time is over.

    Args:
        folder: Where logs and numbers go; `parts.json` holds how each part ended.
        seconds: Time for all of them.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ends = time.monotonic() + seconds
        self.record = folder / "parts.json"
        self.parts: dict[str, dict[str, object]] = json.loads(self.record.read_text()) if self.record.exists() else {}

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.ends - time.monotonic()

    def command(self, name: str, words: Sequence[str]) -> None:
        """Run a command of Python's as a part; its output goes to NAME.log."""
        if self.parts.get(name, {}).get("exit") == 0 or self.left <= 0:
            return
        start = time.monotonic()
        with (self.folder / f"{name}.log").open("w") as log:
            output = {"stdout": log, "stderr": subprocess.STDOUT}
            try:
                ended = subprocess.run([sys.executable, *words], cwd=ROOT, timeout=self.left, check=False, **output)
                code: int | str = ended.returncode
            except subprocess.TimeoutExpired:
                code = "out of time"
        self._note(name, code, time.monotonic() - start)

    def search(self, name: str, words: Sequence[str]) -> None:
        """Run or resume a run folder as a part; `trainer.max_time` stops it in time."""
        if self.parts.get(name, {}).get("exit") == 0 or self.left <= 60:
            return
        start = time.monotonic()
        # The timer of a run that goes on counts what it took before.
        before = float(str(self.parts.get(name, {}).get("seconds", 0)))
        limit = f"trainer.max_time={time.strftime('00:%H:%M:%S', time.gmtime(before + self.left - 30))}"
        line = run(name, [*words, limit], self.folder, [limit])
        done = line.endswith((": done", ": finished before"))
        self._note(name, 0 if done else line, before + time.monotonic() - start)

    def _note(self, name: str, code: int | str, seconds: float) -> None:
        self.parts[name] = {"exit": code, "seconds": round(seconds, 1)}
        self.record.write_text(json.dumps(self.parts, indent=1))
        where = "" if code == 0 else f"; see {self.folder / name}{'.log' if isinstance(code, int) else ''}"
        print(f"{name}: {'done' if code == 0 else code}, {seconds:.0f} s{where}", flush=True)


PARTS = ("tests", "steps", "busy", "retraining", "search", "methods")


def main(words: Sequence[str]) -> int:
    """Run the parts; return 0 if all that were asked for have ended well."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="training images as one .npz file, for search and methods")
    parser.add_argument("--table", type=Path, help="accuracies of NAS-Bench-201 (default: the package's)")
    parser.add_argument("--folder", type=Path, default=Path("outputs/gpu"), help="where all of it goes")
    parser.add_argument("--minutes", type=float, default=25.0, help="time for all of it (default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="of the benchmarks (default: %(default)s)")
    parser.add_argument("--graph", default="auto", help="of the searches: off, auto or required (default: %(default)s)")
    parser.add_argument("--search", nargs="*", default=[], help="further overrides of all searches")
    parser.add_argument("--sizes", type=shlex.split, default=[], help="further words for steps and busy, in quotes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is run (default: all)")
    options = parser.parse_args(words)
    needing = sorted({"search", "methods"} & set(options.parts))
    if needing and (options.images is None or not options.images.is_file()):
        parser.error(f"--images {options.images}: no such file; {' and '.join(needing)} need it")
    if options.table is not None and not options.table.is_file():
        parser.error(f"--table {options.table}: no such file")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: there is no such GPU here")
    session = Session(options.folder.resolve(), 60 * options.minutes)
    cuda = options.device.startswith("cuda")
    device = ["--device", options.device, "--threads", "1"]

    def numbers(name: str) -> list[str]:
        return ["--json", str(session.folder / f"{name}.json")]

    graph = ["--graph"] if cuda else []
    commands = {
        "tests": ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu"],
        "steps": ["-m", "benchmarks.search_step", *device, *graph, *options.sizes, *numbers("steps")],
        "busy": ["-m", "benchmarks.busy", *device, *options.sizes, *numbers("busy")],
        "retraining": ["-m", "benchmarks.evaluation_step", *device, *numbers("retraining")],
    }
    for name in (name for name in commands if name in options.parts):
        session.command(name, commands[name])
    images = ["data=arrays", f"data.path={Path(options.images or '').resolve()}", f"graph={options.graph}"]
    images += options.search
    if "search" in options.parts:
        session.search("search-darts", ["task=search", "method=darts", "space=darts", "search.epochs=50", *images])
    if "methods" in options.parts:
        table = ["evaluation=tabular", "evaluation.dataset=cifar10"]
        table += [] if options.table is None else [f"evaluation.path={options.table.resolve()}"]
        for seed in SEEDS:
            for method in METHODS:
                chosen = ["experiment=nasbench201_benchmark", f"method={method}", f"seed={seed}"]
                session.search(f"{method}-seed{seed}", [*chosen, *images, *table])
    return int(any(part["exit"] != 0 for part in session.parts.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
