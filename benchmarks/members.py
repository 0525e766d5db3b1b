"""Many runs, a few at a time: what is finished is skipped, what was cut off goes on.

Each run is a process of its own, forked from one that has imported torch and Lightning already: a run of a minute would
otherwise spend ten seconds on its imports.
"""

import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["nas_lightning.tasks.run", "nas_lightning.searches", "nas_lightning.evaluation"])


def _work(words: Sequence[str], output: str) -> None:
    """Be the command line, with what it prints in a file."""
    from nas_lightning.cli.main import main

    with Path(output).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["run.py", *words]
    main()


def run(name: str, words: Sequence[str], folder: Path, resumed: Sequence[str] = ()) -> str:
    """Run one member, or what is left of it; returns a line on how it ended.

    Args:
        name: Its run folder below `folder`.
        words: Its overrides.
        folder: Where the runs are.
        resumed: What a member that goes on is given.
    """
    home = folder / name
    if (home / "summary.json").exists() and json.loads((home / "summary.json").read_text())["evaluation"]:
        return f"{name}: finished before"
    goes_on = (home / "config.yaml").exists()
    words = [f"resume={home}", *resumed] if goes_on else [*words, f"hydra.run.dir={home}"]
    with tempfile.NamedTemporaryFile("r") as output:
        process = _FORKS.Process(target=_work, args=(list(words), output.name))
        process.start()
        process.join()
        last = (output.read().strip().splitlines() or [""])[-1]
    return f"{name}: {'done' if process.exitcode == 0 else f'exit {process.exitcode}: {last}'}"


def run_all(members: Sequence[tuple[str, Sequence[str]]], folder: Path, jobs: int) -> None:
    """Run them in their order, `jobs` at a time, and tell how each ended."""
    folder = folder.resolve()
    with ThreadPoolExecutor(jobs) as pool:
        for line in pool.map(lambda member: run(*member, folder), members):
            print(line, flush=True)
