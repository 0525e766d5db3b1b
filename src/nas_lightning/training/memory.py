"""The memory that a process of a run may take, and the refusal of work that does not fit it."""

import logging
from typing import Protocol

from nas_lightning.core import ranks
from nas_lightning.core.memory import Demand, free_bytes
from nas_lightning.core.space import SearchSpace
from nas_lightning.training.processes import number_of_processes
from nas_lightning.training.workbench import Workbench

log = logging.getLogger(__name__)


def free_for(bench: Workbench) -> int | None:
    """Return the bytes that each process of a run can take on this machine; None where the system does not tell.

    The first process decides for all, or they would come to different ends: on GPUs by the one with the least, on the
    CPU by an equal share. Other processes get None.
    """
    if not ranks.is_first():
        return None
    strategy = bench.probe.strategy
    devices = getattr(strategy, "parallel_devices", None) or [strategy.root_device]
    found = [free for device in devices if (free := free_bytes(device)) is not None]
    if not found:
        return None
    nodes = int(bench.config.trainer.get("num_nodes") or 1)
    sharing = number_of_processes(bench.config.trainer) // nodes if strategy.root_device.type == "cpu" else 1
    return min(found) // max(1, sharing)


class Sizes(Protocol):
    """The sizes that a search and a recipe have in common."""

    @property
    def batch_size(self) -> int:
        """Images a step."""

    @property
    def init_channels(self) -> int | None:
        """Channels of the first cells; None where the space has none."""

    @property
    def layers(self) -> int | None:
        """Cells; None where the space fixes them."""


def bound(sizes: Sizes, space: SearchSpace, image_size: int, maps: int) -> float:
    """Return bytes that a step on images does not exceed: `maps` images of the first cells for each cell and image.

    Args:
        sizes: Sizes of the network and of a batch.
        space: The search space.
        image_size: Side of the images.
        maps: Images of the first cells' size and channels, in float32.
    """
    return 4 * maps * sizes.batch_size * space.extent(sizes, image_size)


def in_words(sizes: Sizes, image_size: int, space: SearchSpace) -> str:
    """Return the sizes of a step for messages; those that the space fixes are left out."""
    words = {"px": image_size, "channels": sizes.init_channels, "cells": sizes.layers}
    known = ", ".join(f"{value} {unit}" for unit, value in words.items() if value is not None)
    return f"{known}, batch {sizes.batch_size}, space {space.name}"


def refuse_excess(bench: Workbench, demand: Demand, free: int) -> None:
    """Refuse work that needs more than is free; in mixed precision, whose peak is lower than predicted, only warn.

    Raises:
        ConfigError: It does not fit.
    """
    precision = str(bench.config.trainer.get("precision") or "32-true")
    if precision.partition("-")[0] in ("32", "64"):
        demand.check(free)
    elif not demand.fits(free):
        log.warning("memory: predicted in float32, and would not fit; trainer.precision=%s takes less", precision)
