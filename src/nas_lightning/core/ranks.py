"""Ranks and collectives of a distributed run.

Works before `torch.distributed` is initialised, from the environment that torchrun, SLURM and Lightning set, and in a
run of a single process.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
P = ParamSpec("P")

STARTED_HERE = "NAS_LIGHTNING_STARTED_HERE"
"""Set in the environment of processes of `trainer=ddp_spawn`, which SLURM's variables of the job do not describe."""
_RANKS = ("RANK", "SLURM_PROCID")
"""Variables of the global rank that torchrun and SLURM set; Lightning's own launcher sets a local rank only."""


def rank() -> int:
    """Return the global rank of this process."""
    if _initialised():
        from torch import distributed

        return distributed.get_rank()
    if STARTED_HERE in os.environ:
        return int(os.environ["LOCAL_RANK"])
    for name in _RANKS:
        if name in os.environ and ranks_are_given():
            return int(os.environ[name])
    local, node = (int(os.environ.get(name) or 0) for name in ("LOCAL_RANK", "NODE_RANK"))
    return local + node * int(os.environ.get("WORLD_SIZE") or 1)  # enough to distinguish rank 0 from the others


def count() -> int:
    """Return the number of processes that communicate (world size); 1 before they do."""
    if not _initialised():
        return 1
    from torch import distributed

    return distributed.get_world_size()


def ranks_are_given() -> bool:
    """Return whether torchrun, SLURM (not its interactive shell) or a parent process has started the processes."""
    if "LOCAL_RANK" in os.environ:
        return True
    return int(os.environ.get("SLURM_NTASKS") or 1) > 1 and os.environ.get("SLURM_JOB_NAME") not in (
        "bash",
        "interactive",
    )


def started_by_lightning() -> bool:
    """Return whether Lightning, in the process of rank 0, has started this process."""
    others = ("RANK", "SLURM_PROCID", STARTED_HERE)
    return int(os.environ.get("LOCAL_RANK") or 0) > 0 and not any(name in os.environ for name in others)


def is_first() -> bool:
    """Return whether this process has rank 0, the one that writes the run folder and the terminal."""
    return rank() == 0


def first_only(function: Callable[P, None]) -> Callable[P, None]:
    """Run the function on rank 0 only."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        if is_first():
            function(*args, **kwargs)

    return guarded


def agreed(value: T) -> T:
    """Return rank 0's value on every rank (a broadcast); the others wait for it."""
    if count() == 1:
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def gathered(value: T) -> list[T]:
    """Return every rank's value, in the order of the ranks, on every rank (an all-gather)."""
    values = [value] * count()
    if count() > 1:
        from torch import distributed

        distributed.all_gather_object(values, value)
    return values


def averaged(tensors: "Sequence[Tensor]") -> "list[Tensor]":
    """Return means over the processes, in one all-reduce for each type and device.

    Args:
        tensors: Of the same shapes and in the same order on all ranks.
    """
    found = list(tensors)
    if count() == 1:
        return found
    import torch
    from torch import distributed

    for kind in dict.fromkeys((t.dtype, t.device) for t in tensors):  # the same order on all ranks, or they deadlock
        alike = [i for i, t in enumerate(tensors) if (t.dtype, t.device) == kind]
        flat = torch.cat([tensors[i].detach().flatten() for i in alike])
        distributed.all_reduce(flat)
        parts = flat.div_(count()).split([tensors[i].numel() for i in alike])
        for i, part in zip(alike, parts, strict=True):
            found[i] = part.view_as(tensors[i])
    return found


def take_over(tensors: "Sequence[Tensor]") -> None:
    """Copy the tensors of rank 0 to every rank, in place."""
    if count() > 1:
        from torch import distributed

        for tensor in tensors:
            distributed.broadcast(tensor.data, src=0)


def wait() -> None:
    """Wait until all ranks have come here (a barrier)."""
    if count() > 1:
        from torch import distributed

        distributed.barrier()


def average_statistics(module: "nn.Module") -> None:
    """Average the running statistics over all ranks, in place: each rank updated its own by its own images."""
    if count() > 1:
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        for buffer, mean in zip(buffers, averaged(buffers), strict=True):
            buffer.data.copy_(mean)


@contextmanager
def local_normalisation(module: "nn.Module") -> Iterator[None]:
    """Let SyncBatchNorm normalise by the images of this rank within the block: it has no second derivative."""
    from torch import nn

    synced = [m for m in module.modules() if isinstance(m, nn.SyncBatchNorm)]
    groups = [m.process_group for m in synced]
    try:
        for m in synced:
            m.process_group = _alone()
        yield
    finally:
        for m, group in zip(synced, groups, strict=True):
            m.process_group = group


_groups: dict[int, Any] = {}


def _alone() -> Any:
    """Return the process group of this rank alone; the first call is collective."""
    if not _initialised():
        return None
    from torch import distributed

    world = id(distributed.group.WORLD)
    if world not in _groups:
        made = [distributed.new_group([other]) for other in range(count())]
        _groups[world] = made[rank()]
    return _groups[world]


def _initialised() -> bool:
    if "torch" not in sys.modules:  # the help must not wait for torch
        return False
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()
