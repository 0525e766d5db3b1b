"""Time an exported network on this CPU."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

WARM_UP, LEAST, MOST = 3, 5, 200
"""Calls before the timed ones, and the least and the most timed calls."""
SECONDS = 0.5
"""Time after which no further call is begun."""


def median_milliseconds(network: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Return the median time of a call in ms: other work on the machine disturbs it less than a mean.

    Args:
        network: Images [B, C, S, S] → logits [B, K], on the CPU.
        images: The images of each call.
    """
    found: list[float] = []
    with torch.no_grad():
        for _ in range(WARM_UP):
            network(images)
        end = time.perf_counter() + SECONDS
        while len(found) < LEAST or (len(found) < MOST and time.perf_counter() < end):
            start = time.perf_counter()
            network(images)
            found.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(found), 4)


def cpu_name() -> str:
    """Return the name of the CPU; the architecture where the system does not report a name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
