"""Many runs, a few at a time: what is finished is skipped, what was cut off goes on."""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
    ended = subprocess.run([sys.executable, ROOT / "run.py", *words], capture_output=True, text=True, check=False)
    return f"{name}: {'done' if ended.returncode == 0 else f'exit {ended.returncode}: {ended.stderr.strip()}'}"


def run_all(members: Sequence[tuple[str, Sequence[str]]], folder: Path, jobs: int) -> None:
    """Run them in their order, `jobs` at a time, and tell how each ended."""
    folder = folder.resolve()
    with ThreadPoolExecutor(jobs) as pool:
        for line in pool.map(lambda member: run(*member, folder), members):
            print(line, flush=True)
