"""How fast a search is with several processes: images per second of whole searches by `task=search`.

    one       one process
    halves    several processes that share its batch: the same steps
    wholes    several processes, each with a batch as large as its

Each process has `--threads` threads, on the CPU processes communicate by gloo, on CUDA by NCCL. Images per second are
Lightning's whole step, loading and communication included, of all processes together; the first step is too.
`python -m benchmarks.ranks` took 4 minutes with two cores on 2026-11-26.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measuring import ROOT, add_number, new_parser, noise_file, show, write
from nas_lightning.runs.folder import RunFolder

NAME = "ranks"


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = new_parser(NAME, __doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--method", default="darts", help="one of conf/method (default: %(default)s)")
    add_number(parser, "processes", 2, "processes of the several")
    add_number(parser, "batch", 32, "images of a step, in either batch")
    add_number(parser, "image", 16, "height and width of the images")
    add_number(parser, "channels", 16, "channels of the first cells")
    add_number(parser, "cells", 8, "cells of the supernet")
    add_number(parser, "steps", 12, "steps of a search")
    options = parser.parse_args(words)
    if options.batch % options.processes:
        parser.error(f"--batch {options.batch}: cannot be shared by --processes {options.processes}")
    return options


def speed(options: argparse.Namespace, file: Path, folder: Path, processes: int, batch: int) -> float:
    """Images per second of a search, in a process of its own.

    Raises:
        RuntimeError: The search failed.
    """
    overrides = {
        "task": "search",
        "method": options.method,
        "data": "arrays",
        "data.path": file,
        "search.epochs": 1,
        "search.batch_size": batch,
        "search.init_channels": options.channels,
        "search.layers": options.cells,
        "trainer": "ddp_spawn",
        "trainer.accelerator": "cpu" if options.device == "cpu" else "gpu",
        "trainer.devices": processes,
        "threads": options.threads,
        "trainer.limit_train_batches": options.steps,
        "trainer.limit_val_batches": 1,
        "hydra.run.dir": folder,
    }
    command = [
        sys.executable,
        str(ROOT / "run.py"),
        "~callbacks.curvature",
        *(f"{key}={value}" for key, value in overrides.items()),
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr.strip()[-2000:]}")
    return float(RunFolder(folder).summary()["search"]["images_per_second"])


def main(words: Sequence[str]) -> None:
    options = arguments(words)
    count = options.processes
    sides: Mapping[str, tuple[int, int]] = {
        "one": (1, options.batch),
        "halves": (count, options.batch // count),
        "wholes": (count, options.batch),
    }
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as name:
        file = noise_file(Path(name), 2 * count * options.batch * (options.steps + 1), options.image)
        for turn in range(options.rounds):
            for side, sizes in sides.items():
                speeds[side].append(speed(options, file, Path(name) / f"{side}{turn}", *sizes))
    rows = [
        {
            "side": side,
            "processes": processes,
            "batch": batch,
            "images_per_second": statistics.median(speeds[side]),
            "ratio": statistics.median(s / one for s, one in zip(speeds[side], speeds["one"], strict=True)),
            "rounds": speeds[side],
        }
        for side, (processes, batch) in sides.items()
    ]
    columns = ("side", "processes", "batch", "images_per_second", "ratio")
    show(f"{options.method}: images per second of all processes", columns, [[r[c] for c in columns] for r in rows])
    write(options, NAME, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
