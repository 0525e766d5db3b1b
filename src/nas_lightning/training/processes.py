"""Start the processes of a distributed run, and configure how a search communicates.

With `trainer=ddp` Lightning starts them by running the command again in each further process, unless torchrun or SLURM
has started them. With `trainer=ddp_spawn` they are started here, once the run folder is claimed, which works within
sweeps and in Python. In either case every process runs all phases, and rank 0 alone writes.
"""

import atexit
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import multiprocessing
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from nas_lightning.core import errors, ranks
from nas_lightning.core.errors import ConfigError, Interrupted
from nas_lightning.core.part import place_of_fault
from nas_lightning.core.signals import SIGNALS, taking_over
from nas_lightning.core.terminal import forgiving_output
from nas_lightning.runs.folder import RunFolder
from nas_lightning.runs.layout import log_name
from nas_lightning.runs.logs import log_to

SPAWNED = ("ddp_spawn", "ddp_fork", "ddp_notebook")
"""Strategies whose processes are started here."""
LAUNCHED = ("ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")
"""Strategies whose processes Lightning starts, or torchrun, or SLURM."""
ACCELERATORS = ("auto", "cpu", "cuda", "gpu")
"""What searches have been tried on; `gpu` is `cuda`."""
ENDING_SECONDS = 10
"""Seconds that the processes started by Lightning may take to end after rank 0."""


class EndingDDP(DDPStrategy):
    """Lightning's DDP, but no process is left behind when rank 0 ends."""

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        launcher = self._launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            atexit.register(lambda: _end(launcher.procs))


class SearchDDP(EndingDDP):
    """Lightning's DDP without the wrapper around the module: the search averages its gradients itself.

    Gradients of weights, of architecture parameters and Hessian products are all averaged in one place (`reduce`), and
    weights that a sampled path leaves unused need no special care. The price: no communication during the backward
    pass.
    """

    def configure_ddp(self) -> None:
        """Broadcast weights and buffers of rank 0; wrap nothing."""
        assert self.model is not None
        ranks.take_over([*self.model.parameters(), *self.model.buffers()])


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for the processes, and kill those that still wait for one that failed."""
    for process in processes:
        try:
            process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def accelerator_of(trainer: Mapping[str, Any]) -> str:
    """Return the `accelerator` argument of the Trainer: `cuda` or `cpu`.

    Lightning's `auto` would also take Apple's GPUs (`mps`) and TPUs, on which no search has been run: gradients of
    gradients, draws by key and float64 on the side are not known to be right there.

    Raises:
        ConfigError: Another accelerator is asked for.
    """
    asked = trainer.get("accelerator") or "auto"
    if asked not in ACCELERATORS:
        raise ConfigError(
            f"trainer.accelerator={asked}: no search has been run on it; allowed: {', '.join(ACCELERATORS)}; use"
            " trainer.accelerator=cpu"
        )
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if asked == "gpu" else asked


def number_of_processes(trainer: Mapping[str, Any]) -> int:
    """Return the number of processes that a `trainer` section asks for, on all machines.

    Raises:
        ConfigError: Lightning refuses the accelerator or the devices.
    """
    accelerator = accelerator_of(trainer)
    asked: dict[str, Any] = {key: trainer[key] for key in ("accelerator", "devices") if trainer.get(key) is not None}
    if asked.get("devices", 1) in (1, "1") and trainer.get("num_nodes", 1) == 1:
        return 1
    # Lightning alone knows what devices=-1, "auto" or a list come to on this machine, so a bare Trainer is asked.
    try:
        silent = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        probe = L.Trainer(**{**asked, "accelerator": accelerator, **silent})
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        words = " ".join(f"trainer.{key}={value}" for key, value in asked.items())
        raise ConfigError(f"{words}: {' '.join(str(error).split())}; use trainer.devices=1, or trainer=cpu") from error
    return probe.num_devices * int(trainer.get("num_nodes") or 1)


def strategy_of(trainer: Mapping[str, Any], searches: bool) -> Any:
    """Return the `strategy` argument of the Trainer of a phase.

    Args:
        trainer: The `trainer` section.
        searches: True for a search, whose module must not be wrapped.
    """
    strategy = trainer.get("strategy") or "auto"
    if number_of_processes(trainer) == 1 and not (strategy in LAUNCHED and ranks.ranks_are_given()):
        return strategy if strategy not in (*SPAWNED, *LAUNCHED) else "auto"
    return SearchDDP() if searches else EndingDDP()


def check_processes(trainer: Mapping[str, Any], task: str) -> None:
    """Refuse a distributed run that its strategy, its task or the cluster does not allow.

    Args:
        trainer: The `trainer` section.
        task: The task of the run.

    Raises:
        ConfigError: A strategy other than DDP, a task for one process, SyncBatchNorm on the CPU, a wrong number of
            SLURM tasks, or spawning on several machines.
    """
    strategy = trainer.get("strategy") or "auto"
    count = number_of_processes(trainer)
    if strategy not in ("auto", *SPAWNED, *LAUNCHED) and count > 1:
        raise ConfigError(
            f"trainer.strategy={strategy}: several processes need DDP, which keeps the whole supernet in each; allowed:"
            f" {', '.join(('auto', *LAUNCHED[:1], *SPAWNED))}; use trainer.strategy=ddp"
        )
    if count > 1 and task not in ("pipeline", "search", "select", "evaluate"):
        raise ConfigError(
            f"trainer.devices={trainer.get('devices')}: task={task} runs in one process; use trainer.devices=1"
        )
    if count > 1 and trainer.get("sync_batchnorm") and accelerator_of(trainer) == "cpu":
        raise ConfigError(
            "trainer.sync_batchnorm=true: torch supports it on GPUs only, and this run is on the CPU; use"
            " trainer.sync_batchnorm=false"
        )
    tasks = int(os.environ.get("SLURM_NTASKS") or count)
    if count > 1 and strategy not in SPAWNED and SLURMEnvironment.detect() and tasks != count:
        raise ConfigError(
            f"trainer.devices={trainer.get('devices')}: SLURM has started {tasks} tasks for {count} processes; use"
            f" srun --ntasks={count} (hydra.launcher.tasks_per_node), or trainer=ddp_spawn"
        )
    if strategy in SPAWNED and int(trainer.get("num_nodes") or 1) > 1:
        raise ConfigError(
            f"trainer.strategy={strategy}: starts processes on one machine only, not on"
            f" trainer.num_nodes={trainer['num_nodes']};"
            " use trainer=ddp with torchrun or SLURM"
        )


def environment_of_cluster() -> ClusterEnvironment | None:
    """Return the cluster environment where Lightning would choose a wrong one, else None."""
    if ranks.STARTED_HERE in os.environ:
        return LightningEnvironment()
    if SLURMEnvironment.detect():
        # Lightning would requeue the job with a checkpoint of its own; `Preemption` and submitit do that exactly.
        return SLURMEnvironment(auto_requeue=False)
    return None


def starts_here(trainer: Mapping[str, Any]) -> bool:
    """Return whether this process has to start those of the run."""
    return (
        (trainer.get("strategy") or "auto") in SPAWNED
        and not ranks.ranks_are_given()
        and number_of_processes(trainer) > 1
    )


def start_here(run: Callable[[dict[str, Any], Path], None], config: Mapping[str, Any], folder: Path) -> None:
    """Run `run(config, folder)` in as many processes as the configuration asks for, and wait for them.

    Signals that ask for an orderly end are passed on to them.

    Args:
        run: Runs all phases in one process; it has to be picklable.
        config: The whole configuration.
        folder: The run folder, claimed.

    Raises:
        ConfigError: A process raised it; so for the other errors of the package.
        Interrupted: The user stopped the run.
        FaultError: A process failed in another way; the line names its part, hook and log.
        RuntimeError: A process ended without a word.
    """
    trainer = config["trainer"]
    count = number_of_processes(trainer)
    config = {**config, "trainer": {**trainer, "strategy": "ddp", "devices": count}}
    # Exceptions of spawned processes arrive as text with a traceback; the queue carries kind and message instead.
    failures = multiprocessing.get_context("spawn").SimpleQueue()
    arguments = (run, config, folder, _free_port(), count, failures)
    context = multiprocessing.start_processes(_rank, arguments, count, join=False, start_method="spawn")
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # it warns for each process that it ends

    def pass_on(number: int, frame: FrameType | None) -> None:
        for pid in context.pids():
            os.kill(pid, number)

    with taking_over(pass_on, (signal.SIGINT, *SIGNALS)):
        try:
            while not context.join():
                pass
        except (ProcessRaisedException, ProcessExitedException) as error:
            if failures.empty():
                raise RuntimeError(f"a process of the run failed: {error}") from error
            kind, message = failures.get()
            raise getattr(errors, kind, RuntimeError)(message) from error


def _rank(
    number: int,
    run: Callable[[dict[str, Any], Path], None],
    config: dict[str, Any],
    folder: Path,
    port: int,
    count: int,
    failures: Any,
) -> None:
    """Run one of the started processes: set its rank, run, and report an error to the parent."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(number),
        ranks.STARTED_HERE: "1",
    }
    os.setpgrp()  # a Ctrl-C of the terminal reaches the parent, which passes it on once
    log_to(folder)
    try:
        with forgiving_output():
            run(config, folder)
    except (errors.NasLightningError, Interrupted) as error:
        failures.put((type(error).__name__, str(error)))
        os._exit(1)  # raised, it would print a traceback
    except Exception as error:
        logging.getLogger(__name__).info("process %d failed", number, exc_info=True)
        place = place_of_fault(error)
        line = f"{f'{place}: ' if place else ''}{type(error).__name__}: {errors.in_one_line(error)}"
        failures.put(("FaultError", f"{line}; the traceback is in {RunFolder(folder)}/{log_name()}"))
        os._exit(1)
    ranks.wait()  # none may leave while another still communicates


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
