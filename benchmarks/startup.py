"""How long the command line takes before it starts a task, against `import torch`: help, refusals, `--cfg job`.

Each command runs in fresh processes, which take turns with processes that only import torch. Ratios are of the
processor's seconds, of all threads together; memory is the largest resident set of the process.

`python -m benchmarks.startup` takes about two minutes on one CPU core.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.measuring import ROOT, mib, new_parser, ratio, show, write

NAME = "startup"
BASE = "import torch"
COMMANDS = {
    "--help": 0,
    "seeed=1": 2,
    "seed=a": 2,
    "seed=a -m": 2,
    "trainer.devices=1.5": 2,
    "data=image_folder data.path=none": 2,
    "task=select run=none": 2,
    "resume=none": 2,
    "evaluation.epochs=a": 2,
    "+regularizer=drop_path regularizer.drop_path.maximum=a": 2,
    "--cfg job": 0,
}
"""Words of each command and its exit code."""
METER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_, status, usage = os.wait4(subprocess.Popen(sys.argv[1:], **quiet).pid, 0)
bytes_of = 1 if sys.platform == "darwin" else 1024
wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
print(json.dumps([wall, cpu, usage.ru_maxrss * bytes_of, os.waitstatus_to_exitcode(status)]))
"""
"""Starts and measures a process. In between, because a process inherits the largest resident set of who starts it."""


class Start(NamedTuple):
    """One start: seconds of the clock and of the processor, the largest resident set in bytes, the exit code."""

    wall: float
    cpu: float
    memory: int
    code: int


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__)
    parser.set_defaults(rounds=5)
    parser.add_argument("--command", nargs="+", choices=list(COMMANDS), default=list(COMMANDS), help="what is started")
    return parser.parse_args(words)


def start(command: str, folder: str) -> Start:
    """Start a command once in a folder, and check how it ends."""
    words = ["-c", BASE] if command == BASE else [str(ROOT / "run.py"), *command.split()]
    meter = [sys.executable, "-c", METER, sys.executable, *words]
    found = Start(*json.loads(subprocess.run(meter, check=True, capture_output=True, cwd=folder).stdout))
    if found.code != COMMANDS.get(command, 0):
        raise RuntimeError(f"{command}: ended with {found.code}")
    return found


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for `import torch` and for each command: medians, and ratios within the rounds."""
    starts: dict[str, list[Start]] = {command: [] for command in (BASE, *options.command)}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for command, found in starts.items():
                found.append(start(command, folder))
    base = starts[BASE]
    return [
        {
            "command": command,
            "wall_seconds": statistics.median(one.wall for one in found),
            "cpu_seconds": statistics.median(one.cpu for one in found),
            "cpu_rounds": [one.cpu for one in found],
            "cpu_ratio": ratio([one.cpu for one in found], [one.cpu for one in base]),
            "memory": max(one.memory for one in found),
        }
        for command, found in starts.items()
    ]


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    rows = compare(options)
    show(
        f"start-up: medians of {options.rounds} fresh processes; the ratio is of the processor's seconds",
        ("command", "s (clock)", "s (processor)", "ratio", "MiB at most"),
        [
            (row["command"], row["wall_seconds"], row["cpu_seconds"], row["cpu_ratio"], mib(row["memory"]))
            for row in rows
        ],
    )
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
