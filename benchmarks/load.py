"""Many runs: does a process that runs them all leak, and how long does a report of many folders take?

    report        one run folder, copied many times under other methods and seeds: seconds of `task=report`
    one_process   a sweep of tiny whole runs in one process: its memory, open files and threads while it runs
    two_workers   the same sweep on two workers of joblib: those of all its processes

`python -m benchmarks.load` took 14 minutes with two cores on 2026-11-26. Linux only: it reads /proc.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nas_lightning as nl
from benchmarks.measuring import ROOT, add_number, new_parser, show, write
from nas_lightning.config.compose import as_dict
from nas_lightning.runs.folder import RunFolder
from nas_lightning.tasks.run import run_task

NAME = "load"
TINY = (
    *("data=digits", "trainer=cpu", "search.epochs=1", "search.init_channels=2", "search.layers=2"),
    *("evaluation.epochs=1", "evaluation.init_channels=2", "evaluation.layers=2", "trainer.limit_train_batches=2"),
    *("trainer.limit_val_batches=1", "trainer.limit_test_batches=1"),
)
METHODS = (
    "darts",
    "darts_2nd",
    "darts_es",
    "darts_ada",
    "sdarts_rs",
    "sdarts_adv",
    "noisy_darts",
    "drnas",
    "gdas",
    "snas",
)
SWEEPS = {"one_process": (), "two_workers": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")}
KINDS = ("processes", "mib", "files", "threads")


def family(root: int) -> list[int]:
    """A process and all that it has started, directly or not."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def state(root: int) -> Counter[str]:
    """What a process and those that it has started hold together."""
    held: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    for process in (Path(f"/proc/{pid}") for pid in family(root)):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            held.update(
                processes=1,
                mib=int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20,
                files=len(list((process / "fd").iterdir())),
                threads=len(list((process / "task").iterdir())),
            )
    return held


def sweep(name: str, launcher: Sequence[str], count: int, home: Path) -> dict[str, Any]:
    """A sweep of tiny runs from the command line, looked at from outside twice a second.

    Slopes are over the second half of the runs, when caches are full.

    Raises:
        RuntimeError: The sweep failed.
    """
    command = [sys.executable, str(ROOT / "run.py"), "-m", *TINY, f"seed=range(0,{count})", f"sweep={name}", *launcher]
    folder = home / "multirun" / name
    states: list[dict[str, float]] = []
    start = time.perf_counter()
    with (home / f"{name}.log").open("w") as output:
        process = subprocess.Popen(command, cwd=home, stdout=output, stderr=output)
        while process.poll() is None:
            time.sleep(0.5)
            states.append({"runs": len(list(folder.glob("*/summary.json"))), **state(process.pid)})
    if process.returncode:
        raise RuntimeError(f"the sweep ended with {process.returncode}: {(home / f'{name}.log').read_text()[-1000:]}")
    seconds = time.perf_counter() - start
    busy = [s for s in states if s["runs"]][:-4]  # without the last two seconds: processes end then
    half = [s for s in busy if s["runs"] > count // 2]
    slopes = {kind: float(np.polyfit([s["runs"] for s in half], [s[kind] for s in half], 1)[0]) for kind in KINDS}
    highest = {kind: max(s[kind] for s in busy) for kind in KINDS}
    ends = {"early": busy[len(busy) // 10], "middle": half[0], "late": half[-1]}
    return {"runs": count, "seconds": seconds, **ends, "highest": highest, "slopes": slopes}


def report(count: int, home: Path) -> dict[str, Any]:
    """Seconds of page, figures and tables of so many runs of ten methods."""
    one = home / "one"
    run_task(as_dict(nl.compose(TINY)), RunFolder(one))
    for seed in range(count):
        copy = home / "many" / str(seed)
        shutil.copytree(one, copy, ignore=shutil.ignore_patterns("checkpoints", "plots"))
        summary = json.loads((copy / "summary.json").read_text())
        changed = {"method": METHODS[seed % len(METHODS)], "seed": seed // len(METHODS)}
        (copy / "summary.json").write_text(json.dumps({**summary, **changed}))
    config = as_dict(nl.compose(["task=report", f"runs='{home / 'many'}/**'"]))
    start = time.perf_counter()
    run_task(config, RunFolder(home / "report"))
    return {"folders": count, "seconds": time.perf_counter() - start}


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__, rounds=False)
    add_number(parser, "runs", 200, "runs of each sweep")
    add_number(parser, "folders", 1000, "run folders of the report")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        row = report(options.folders, home)
        print(f"report of {options.folders} run folders: {row['seconds']:.1f} s")
        rows = [{"part": "report", **row}]
        for part, launcher in SWEEPS.items():
            found = sweep(part, launcher, options.runs, home)
            rows.append({"part": part, **found})
            show(
                f"{part}: {options.runs} runs in {found['seconds']:.0f} s",
                ("", "early", "middle", "late", "highest", "slope a run, second half"),
                [
                    (kind, *(found[when][kind] for when in ("early", "middle", "late", "highest")), slope)
                    for kind, slope in found["slopes"].items()
                ],
            )
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
