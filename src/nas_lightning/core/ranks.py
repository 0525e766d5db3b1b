"""The processes of a distributed run: which of them this is, and what they agree on.

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
"""Set in the environment of processes of `trainer=ddp_spawn`, of which SLURM's variables of the job say nothing."""
_RANKS = ("RANK", "SLURM_PROCID")
"""Names of a process among all, as torchrun and SLURM set them; Lightning's own launcher sets one a machine."""


def rank() -> int:
    """Number of this process among all of the run."""
    if _initialised():
        from torch import distributed

        return distributed.get_rank()
    if STARTED_HERE in os.environ:
        return int(os.environ["LOCAL_RANK"])
    for name in _RANKS:
        if name in os.environ and ranks_are_given():
            return int(os.environ[name])
    local, node = (int(os.environ.get(name) or 0) for name in ("LOCAL_RANK", "NODE_RANK"))
    return local + node * int(os.environ.get("WORLD_SIZE") or 1)  # not 0 on the other machines, which is all it is for


def count() -> int:
    """How many processes communicate; 1 before they do."""
    if not _initialised():
        return 1
    from torch import distributed

    return distributed.get_world_size()


def ranks_are_given() -> bool:
    """Whether somebody else has started the processes: torchrun, SLURM (not its interactive shell), or a parent."""
    if "LOCAL_RANK" in os.environ:
        return True
    return int(os.environ.get("SLURM_NTASKS") or 1) > 1 and os.environ.get("SLURM_JOB_NAME") not in (
        "bash",
        "interactive",
    )


def started_by_lightning() -> bool:
    """Whether Lightning has started this process beside the first one."""
    others = ("RANK", "SLURM_PROCID", STARTED_HERE)
    return int(os.environ.get("LOCAL_RANK") or 0) > 0 and not any(name in os.environ for name in others)


def is_first() -> bool:
    """Whether this process writes the run folder and talks to the user."""
    return rank() == 0


def first_only(function: Callable[P, None]) -> Callable[P, None]:
    """Let only the first process do it."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        if is_first():
            function(*args, **kwargs)

    return guarded


def agreed(value: T) -> T:
    """What the first process found, in all of them; they wait for it."""
    if count() == 1:
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def gathered(value: T) -> list[T]:
    """What each process found, in all of them."""
    values = [value] * count()
    if count() > 1:
        from torch import distributed

        distributed.all_gather_object(values, value)
    return values


def averaged(tensors: "Sequence[Tensor]") -> "list[Tensor]":
    """Means over the processes, in one communication for each type of number.

    Args:
        tensors: Of the same shapes and in the same order in all processes.
    """
    found = list(tensors)
    if count() == 1:
        return found
    import torch
    from torch import distributed

    for kind in dict.fromkeys((t.dtype, t.device) for t in tensors):  # in the same order in all processes
        alike = [i for i, t in enumerate(tensors) if (t.dtype, t.device) == kind]
        flat = torch.cat([tensors[i].detach().flatten() for i in alike])
        distributed.all_reduce(flat)
        parts = flat.div_(count()).split([tensors[i].numel() for i in alike])
        for i, part in zip(alike, parts, strict=True):
            found[i] = part.view_as(tensors[i])
    return found


def take_over(tensors: "Sequence[Tensor]") -> None:
    """Give every process the first one's numbers, in place."""
    if count() > 1:
        from torch import distributed

        for tensor in tensors:
            distributed.broadcast(tensor.data, src=0)


def wait() -> None:
    """Let all processes come as far as this."""
    if count() > 1:
        from torch import distributed

        distributed.barrier()


def average_statistics(module: "nn.Module") -> None:
    """Give every process the mean of all running statistics: each moved its own by the images that it saw."""
    if count() > 1:
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        for buffer, mean in zip(buffers, averaged(buffers), strict=True):
            buffer.data.copy_(mean)


@contextmanager
def local_normalisation(module: "nn.Module") -> Iterator[None]:
    """Within the block, SyncBatchNorm normalises by the images of this process: it has no second derivative."""
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
    """The group of this process alone; the first call is made by all together."""
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
