"""Check of distributed trainers in a sweep: ranks that repeat the command would each run the whole sweep."""

import os
from collections.abc import Mapping
from typing import Any

from nas_lightning.core.errors import ConfigError

OWN_PROCESSES = ("spawn", "fork", "notebook")
"""Words in the names of strategies whose ranks this process starts itself, without repeating the command."""


def check_ranks(trainer: Mapping[str, Any], launcher: Mapping[str, Any]) -> None:
    """Refuse ranks that Lightning starts by repeating the command: each would run the whole sweep.

    Only the configuration is read: the machine that a sweep is sent from may not have the devices of its members.

    Args:
        trainer: Section `trainer` of a member.
        launcher: Hydra's launcher.

    Raises:
        ConfigError: The trainer would start such ranks, and no launcher has started them.
    """
    strategy, devices = str(trainer.get("strategy") or "auto"), trainer.get("devices", 1)
    several = {"devices": _several(devices, trainer), "num_nodes": int(trainer.get("num_nodes") or 1) > 1}
    if not any(several.values()) or any(word in strategy for word in OWN_PROCESSES):
        return
    from_outside = "LOCAL_RANK" in os.environ or "SLURM_PROCID" in os.environ
    if from_outside or int(launcher.get("tasks_per_node") or 1) > 1:
        return
    key = "devices" if several["devices"] else "num_nodes"
    raise ConfigError(
        f"trainer.strategy={strategy} with trainer.{key}={trainer[key]}: under -m each process that Lightning starts"
        " would run the whole sweep again; use trainer.strategy=ddp_spawn, or have Slurm start the processes:"
        f" hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node={devices}"
    )


def _several(devices: Any, trainer: Mapping[str, Any]) -> bool:
    """Return whether `trainer.devices` is, or may be, more than one: `auto` may on anything but a CPU."""
    if isinstance(devices, str) and "," in devices:
        devices = [word for word in devices.split(",") if word.strip()]
    if not isinstance(devices, (int, str)):
        return len(devices) > 1
    if str(devices) in ("auto", "-1"):
        return trainer.get("accelerator") != "cpu"
    if not str(devices).isdecimal():
        raise ConfigError(f"trainer.devices={devices}: must be a number, a list or auto; write trainer.devices=2")
    return int(devices) > 1
