"""Time an exported network on this CPU, and single operations of a search space on this device."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from nas_lightning.core.costs import Costs, Place

WARM_UP, LEAST, MOST = 3, 5, 200
"""Calls before the timed ones, and the least and the most timed calls."""
SECONDS = 0.5
"""Time after which no further call is begun."""


def median_milliseconds(network: Callable[[Tensor], Tensor], images: Tensor, seconds: float | None = None) -> float:
    """Return the median time of a call in ms: other work on the machine disturbs it less than a mean.

    Args:
        network: Images [B, C, S, S] → logits [B, K].
        images: The images of each call; on a GPU, each call is timed until it has finished.
        seconds: Time after which no further call is begun; None is `SECONDS`.
    """
    wait = torch.cuda.synchronize if images.is_cuda else _no_wait
    found: list[float] = []
    with torch.no_grad():
        for _ in range(WARM_UP):
            network(images)
        wait()
        end = time.perf_counter() + (SECONDS if seconds is None else seconds)
        while len(found) < LEAST or (len(found) < MOST and time.perf_counter() < end):
            start = time.perf_counter()
            network(images)
            wait()
            found.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(found), 4)


def _no_wait() -> None:
    """Do nothing: a call on the CPU has finished when it returns."""


Timer = Callable[[Callable[[Tensor], Tensor], Tensor], float]


def operation_latencies(
    costs: Costs, images: Tensor, time_call: Timer = median_milliseconds
) -> tuple[dict[Place, float], float]:
    """Time every option of a space, each by itself, in evaluation mode and with inputs of the sizes that it gets.

    Operations of equal structure whose inputs have equal shapes are timed once.

    Args:
        costs: The space, and how its networks are built.
        images: Images [B, C, S, S], on the device that is measured.
        time_call: Returns the ms of a call of its first argument with its second.

    Returns:
        Milliseconds by choice, row and option, over all cells; and those of what every network has besides: the median
        over networks of the whole minus its operations, at least 0.

    Raises:
        ConfigError: Costs of the space do not add up.
    """
    known: dict[tuple[str, tuple[int, ...]], float] = {}
    found: dict[Place, float] = {}
    rest: list[float] = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for network, operations in costs.operations():
            network.to(images.device).eval()
            inputs = _inputs_of([part for parts in operations.values() for part in parts], network, images)
            for place, parts in operations.items():
                found[place] = 0.0
                for part in parts:
                    x = inputs[part]
                    key = (repr(part), tuple(x.shape))
                    if key not in known:
                        known[key] = time_call(part, x)
                    found[place] += known[key]
            rest.append(time_call(network, images) - sum(found[place] for place in operations))
    return found, max(0.0, statistics.median(rest))


def _inputs_of(parts: list[nn.Module], network: nn.Module, images: Tensor) -> dict[nn.Module, Tensor]:
    """Return the input that each part of a network gets for these images."""
    inputs: dict[nn.Module, Tensor] = {}

    def keep(part: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs[part] = given[0]

    handles = [part.register_forward_pre_hook(keep) for part in parts]
    network(images)
    for handle in handles:
        handle.remove()
    return inputs


def cpu_name() -> str:
    """Return the name of the CPU; the architecture where the system does not report a name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
