"""Memory: what computations hold, counted on tensors without numbers, and what a machine has left."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas_lightning.core.errors import ConfigError

GIB = 2**30
SHARE = 0.9
"""Share of the free memory that a computation may take by its prediction."""
FIXED = 4
"""Tensors of the weights' size that a step holds whatever the images: weights, gradients, momenta, and one more."""
CGROUPS = {
    "": ("memory.max", "memory.current", ("active_file", "inactive_file")),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")),
}
"""Files of the limit and the use of a control group, and what of `memory.stat` is cached files, by the controller:
version 2 has none, version 1 one of memory."""


@dataclass(frozen=True)
class Demand:
    """Predicted peak of a kind of work.

    Attributes:
        kind: `search step`, `curvature` or `training step`.
        peak: Bytes.
        key: Key of the number of images, which the peak but for the weights grows with.
        images: That number.
        fixed: Bytes of the peak that do not grow with the images: weights, gradients, momenta.
        instead: Another override with which it would need less, and how much that is; empty if there is none.
        what: What is predicted, where it is not the very work: ` of a random genotype`.
    """

    kind: str
    peak: int
    key: str
    images: int
    fixed: int = 0
    instead: str = ""
    what: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{self.what} {self.peak / GIB:.1f} GiB"

    def fits(self, free: int) -> bool:
        """Return whether so many free bytes suffice."""
        return self.peak <= SHARE * free

    def check(self, free: int) -> None:
        """Refuse what does not fit.

        Raises:
            ConfigError: It needs more than so many free bytes.
        """
        if self.fits(free):
            return
        images = int(self.images * (SHARE * free - self.fixed) / max(1, self.peak - self.fixed))
        override = f"{self.key}={images}" if images >= 2 else "smaller images or fewer channels"
        needs = f"a {self.kind}{self.what} needs about {self.peak / GIB:.1f} GiB, and {free / GIB:.1f} GiB are free"
        raise ConfigError(f"{self.key}={self.images}: {needs}; use {override}{self.instead and f' or {self.instead}'}")


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that live within its block, each storage once, and their maximum.

    On the `meta` device an operator takes no time and no memory, but its results live and die as real ones do: so the
    peak of a training step is known without running it. What an operator allocates inside itself is not seen.

    Attributes:
        now: Bytes that live now.
        peak: Most bytes that have lived at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that live already."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._known:
                continue
            size = storage.nbytes()
            self._known[key] = weakref.ref(storage, partial(self._free, key, size))
            self.now += size
        self.peak = max(self.peak, self.now)

    def _free(self, key: int, size: int, _: Any) -> None:
        if self._known.pop(key, None) is not None:
            self.now -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call an operator and count its results."""
        result = func(*args, **(kwargs or {}))
        self.hold(x for x in tree_leaves(result) if isinstance(x, Tensor) and x.device.type == "meta")
        return result


def free_bytes(device: torch.device, system: Path = Path("/")) -> int | None:
    """Return the bytes that a new computation can take on a device; None where the system does not tell.

    On the CPU the least of what the machine has available and what the control group of the process leaves.

    Args:
        device: CPU or GPU.
        system: Root of the file system, for tests.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch uses it again
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    if device.type != "cpu":
        return None
    found = []
    meminfo = system / "proc/meminfo"
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in fields:
            found.append(int(fields["MemAvailable"].split()[0]) * 1024)
    for controller, (limit, used, names) in CGROUPS.items():
        for group in _groups(system, controller):
            paths = [group / name for name in (limit, used)]
            if all(path.exists() for path in paths):
                texts = [path.read_text().strip() for path in paths]
                if texts[0] != "max":
                    found.append(max(0, int(texts[0]) - int(texts[1]) + _cached(group / "memory.stat", names)))
    return min(found, default=None)


def _groups(system: Path, controller: str) -> list[Path]:
    """Return the control group of this process and those above it, each of which may limit it."""
    table, place = system / "proc/self/cgroup", Path()
    for line in table.read_text().splitlines() if table.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            place = Path(path.strip("/"))
    root = system / "sys/fs/cgroup" / controller
    return [root / part for part in (place, *(parent for parent in place.parents if parent != place))]


def _cached(stat: Path, names: tuple[str, ...]) -> int:
    """Return the bytes of cached files, which the system gives back when memory is asked for."""
    if not stat.exists():
        return 0
    values = dict(line.split() for line in stat.read_text().splitlines())
    return sum(int(values.get(name, 0)) for name in names)
