"""Many runs: does a process that runs them all leak, and how long does a report of many folders take?

    leak      tiny whole runs, one after the other in this process: memory, open files and threads after each
    report    one run folder, copied many times under other seeds: seconds of `task=report`

`python -m benchmarks.load` takes some minutes. Linux only: it reads /proc.
"""

import argparse
import gc
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nas_lightning as nl
from benchmarks.measuring import add_number, new_parser, show, write
from nas_lightning import reports
from nas_lightning.composition import as_dict
from nas_lightning.run_folder import RunFolder
from nas_lightning.tasks import run_task

NAME = "load"
TINY = (
    *("data=digits", "trainer=cpu", "search.epochs=1", "search.init_channels=2", "search.layers=2"),
    *("evaluation.epochs=1", "evaluation.init_channels=2", "evaluation.layers=2", "trainer.limit_train_batches=2"),
    *("trainer.limit_val_batches=1", "trainer.limit_test_batches=1"),
)


def state() -> dict[str, float]:
    """What this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "mib": pages * 4096 / 2**20,
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
    }


def run(seed: int, folder: Path) -> None:
    """A whole tiny run."""
    run_task(as_dict(nl.compose([*TINY, f"seed={seed}"])), RunFolder(folder))


def leak(count: int, home: Path) -> dict[str, Any]:
    """Slopes over the second half of the runs, when caches are full."""
    states = []
    for seed in range(count):
        run(seed, home / "runs" / str(seed))
        states.append(state())
    half = states[count // 2 :]
    slopes = {key: float(np.polyfit(range(len(half)), [s[key] for s in half], 1)[0]) for key in half[0]}
    return {"runs": count, "first": states[0], "middle": half[0], "last": states[-1], "slopes": slopes}


def report(count: int, home: Path) -> dict[str, Any]:
    """Seconds of a table of so many runs."""
    one = home / "one"
    run(0, one)
    for seed in range(count):
        copy = home / "many" / str(seed)
        shutil.copytree(one, copy, ignore=shutil.ignore_patterns("checkpoints", "plots"))
        summary = json.loads((copy / "summary.json").read_text())
        (copy / "summary.json").write_text(json.dumps({**summary, "seed": seed}))
    start = time.perf_counter()
    table = reports.summarise(reports.collect(str(home / "many" / "**")))
    reports.write(table, home)
    return {"folders": count, "seconds": time.perf_counter() - start}


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__)
    add_number(parser, "runs", 200, "runs in one process")
    add_number(parser, "folders", 1000, "run folders of the report")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    with tempfile.TemporaryDirectory() as home:
        rows = [{"part": "report", **report(options.folders, Path(home))}]
        rows.append({"part": "leak", **leak(options.runs, Path(home))})
    found = rows[1]
    show(
        f"{options.runs} runs in one process",
        ("", "after the first", "in the middle", "at the end", "slope a run, second half"),
        [
            (key, *(found[when][key] for when in ("first", "middle", "last")), found["slopes"][key])
            for key in found["slopes"]
        ],
    )
    print(f"report of {options.folders} run folders: {rows[0]['seconds']:.1f} s")
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
