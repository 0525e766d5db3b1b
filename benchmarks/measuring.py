"""What the benchmarks share: paired rounds, peak memory in a process of its own, and reports of both.

A ratio is the median over rounds in which the sides take turns, so that what slows the machine down slows all of them.
On the CPU seconds are those of the processor, of all threads together; on CUDA those of the clock, after waiting.
Threads that wait for each other count as well, so on a machine with other work use `--threads 1`.
"""

import argparse
import json
import logging
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nas_lightning.config.compose import compose

ROOT = Path(__file__).parents[1]
Seconds = dict[str, list[float]]
"""Of each side, a number a round."""


# Command line --------------------------------------------------------------------------------------------------------


def new_parser(name: str, doc: str | None, rounds: bool = True) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes: `--device`, `--threads`, `--rounds` and `--json`.

    Args:
        name: Module below `benchmarks`.
        doc: Its docstring, which the help shows.
        rounds: Whether sides take turns.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device, help="cpu, cuda or cuda:N (default: %(default)s)")
    add_number(parser, "threads", min(2, os.cpu_count() or 1), "threads of torch")
    if rounds:
        add_number(parser, "rounds", 3, "rounds in which all sides take turns")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the numbers are written as well")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # for the processes of `peak_memory`
    return parser


def add_number(parser: argparse.ArgumentParser, name: str, default: int, meaning: str) -> None:
    """An option that takes a whole number from 1."""
    parser.add_argument(
        f"--{name}", type=_positive, default=default, metavar="N", help=f"{meaning} (default: %(default)s)"
    )


SIZES = {
    "batch": (64, "images of a step, in either batch"),
    "image": (32, "height and width of the images"),
    "classes": (10, "classes"),
    "channels": (16, "channels of the first cells"),
    "cells": (8, "cells"),
    "stage-cells": (5, "cells a stage, in nasbench201"),
}
"""Sizes of a search step: the default and its meaning."""


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """The options of `SIZES`."""
    for name, (default, meaning) in SIZES.items():
        add_number(parser, name, default, meaning)


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word}: a whole number from 1")
    return number


def device_of(options: argparse.Namespace) -> torch.device:
    """The device of the options, whose number of threads is set."""
    torch.set_num_threads(options.threads)
    return torch.device(options.device)


# What is measured ----------------------------------------------------------------------------------------------------


def build_space(name: str, **changes: Any) -> Any:
    """A space of conf/space, with some of its arguments changed."""
    values = yaml.safe_load((ROOT / "conf" / "space" / f"{name}.yaml").read_text())
    return instantiate({**values.get("space", values), **changes}, _convert_="all")


def noise(batch: int, image: int, classes: int, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images [batch, 3, image, image] of Gaussian noise and labels [batch] that have nothing to do with them."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, image, image, generator=rng)
    return images.to(device), torch.randint(0, classes, (batch,), generator=rng).to(device)


def noise_file(folder: Path, train: int, image: int = 32, classes: int = 10, test: int = 100) -> Path:
    """A file for `data=arrays` with so many images of uniform noise, uint8 [N, image, image, 3], classes in turns."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, count in {"train": train, "test": test}.items():
        arrays[f"x_{part}"] = rng.integers(256, size=(count, image, image, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % classes
    path = folder / "noise.npz"
    np.savez(path, **arrays)
    return path


def configuration(options: argparse.Namespace, overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of a run on the device and with the threads of the options."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # tips
    device = torch.device(options.device)
    trainer = ["trainer=cpu"] if device.type == "cpu" else ["trainer=gpu", f"trainer.devices=[{device.index or 0}]"]
    config = compose([f"threads={options.threads}", *trainer, *overrides])
    return OmegaConf.to_container(config)  # type: ignore[return-value]


# Time ----------------------------------------------------------------------------------------------------------------


def now(device: torch.device) -> float:
    """What the clock says, in seconds: the processor's on the CPU, the wall's on CUDA when the device is ready."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """What one run takes."""
    start = now(device)
    run()
    return now(device) - start


def take_turns(sides: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> Seconds:
    """Run the sides one after the other, so many rounds."""
    seconds: Seconds = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            seconds[name].append(seconds_of(run, device))
    return seconds


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median over the rounds of over / under.

    >>> ratio([2.0, 9.0, 3.0], [1.0, 3.0, 3.0])
    2.0
    """
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


# Memory --------------------------------------------------------------------------------------------------------------


def peak_growth(run: Callable[[], object], device: torch.device) -> int:
    """Bytes by which memory grows at most while something runs; on the CPU, the first in its process to need much."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    before = _resident()
    run()
    return max(0, _peak_resident() - before)


def peak_memory(name: str, words: Sequence[str], side: str) -> int:
    """`peak_growth` of a side, in bytes, measured in a process of its own.

    Args:
        name: Module below `benchmarks` that prints it when called with `--memory-of SIDE`.
        words: The other words of its command line; of two values for an option the last counts.
        side: What is measured.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}", *words, "--memory-of", side]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr.strip()[-2000:]}")
    return int(ended.stdout.split()[-1])


def _resident() -> int:
    """Bytes of this process that are in memory now; without /proc the most there were."""
    found = _status("VmRSS")
    return _peak_resident() if found is None else found


def _peak_resident() -> int:
    """The most there were; not by `getrusage` on Linux, where a process inherits the maximum of who starts it."""
    found = _status("VmHWM")
    if found is not None:
        return found
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(key: str) -> int | None:
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    line = next(line for line in path.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


# Reports -------------------------------------------------------------------------------------------------------------


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; numbers have three digits, None is empty."""
    console = Console()
    table = Table(title=title)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    for row in rows:
        table.add_row(*map(_cell, row))
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return "" if value is None else str(value)


def at_most(target: float | None) -> str | None:
    """A target as tables show it."""
    return None if target is None else f"≤ {target:.3g}"


def mib(number: int | None) -> float | None:
    """Bytes in MiB."""
    return None if number is None else number / 2**20


def write(options: argparse.Namespace, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The numbers as JSON where `--json` says: machine, date (UTC), settings and rows."""
    if options.json is None:
        return
    settings = {key: value for key, value in vars(options).items() if key not in ("json", "memory_of")}
    value = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(device_of(options)),
        "settings": settings,
        "rows": list(rows),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(value, indent=2) + "\n")
    print(f"numbers: {options.json}")


def machine(device: torch.device) -> dict[str, Any]:
    """What it was measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def unit(device: torch.device) -> str:
    """What seconds are, for titles."""
    return "seconds" if device.type == "cuda" else "CPU seconds"
