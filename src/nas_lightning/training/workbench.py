"""The parts of one run, built from its configuration."""

import inspect
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger

import lightning as L
from nas_lightning.callbacks import (
    DurableIO,
    EpochCheckpoint,
    InterruptAtEpochEnd,
    LiveDisplay,
    Preemption,
    RandomState,
    RunLogging,
    Tables,
)
from nas_lightning.config.parts import target_of
from nas_lightning.config.schema import LoaderConfig, RootConfig, validate
from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.protocols import Objective, Regularizer, SearchSpace
from nas_lightning.data import ImageData
from nas_lightning.data.from_datamodule import from_datamodule
from nas_lightning.loggers import RunInfo, RunLoggers
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training.processes import environment_of_cluster, number_of_processes, strategy_of

log = logging.getLogger(__name__)

DEFAULT_THREADS = int(os.environ.setdefault("NAS_LIGHTNING_THREADS", str(torch.get_num_threads())))
"""What torch takes by itself; a run that names no number gets it back after one that did."""


_KINDS: dict[str, type] = {
    "callbacks": L.Callback,
    "control": L.Callback,
    "logger": Logger,
    "regularizer": Regularizer,
}


class Workbench:
    """Builds what a run needs, each thing once.

    Args:
        config: The resolved configuration as plain lists and dictionaries.
        folder: The run folder.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, config: Mapping[str, Any], folder: RunFolder) -> None:
        self.plain = dict(config)
        self.config: RootConfig = validate(config)
        self.folder = folder

    def variant(self, config: Mapping[str, Any], folder: RunFolder | None = None) -> "Workbench":
        """The parts under another configuration; images are read again only where that says something else of them.

        Raises:
            ConfigError: The configuration is not valid.
        """
        other = Workbench(config, folder or self.folder)
        if other.plain["data"] == self.plain["data"]:
            other.data = self.data
        if other.folder is self.folder:
            other.loggers = self.loggers
        return other

    def build(self, path: str, part: Mapping[str, Any], fill: Mapping[str, Any] | None = None) -> Any:
        """Instantiate a part.

        Args:
            path: Where it stands in the configuration.
            part: Its section.
            fill: Values of the run for arguments of these names that the section leaves out or null.

        Raises:
            ConfigError: The target is not trusted or does not exist, or refuses its arguments.
        """
        target = target_of(path, part, tuple(self.config.trusted))
        arguments = {key: value for key, value in part.items() if not key.startswith("_")}
        if fill:
            accepted = inspect.signature(target).parameters
            arguments |= {k: v for k, v in fill.items() if k in accepted and arguments.get(k) is None}
        try:
            return target(**{key: self._argument(f"{path}.{key}", value, fill) for key, value in arguments.items()})
        except ConfigError:
            raise
        except Exception as error:  # of any library's or user's own kind; the traceback goes to run.log
            log.info("%s cannot be built", path, exc_info=True)
            reason = " ".join(str(error).split())
            raise ConfigError(f"{path}: {target.__name__} refuses its arguments ({reason})") from error

    def _argument(self, path: str, value: Any, fill: Mapping[str, Any] | None) -> Any:
        if isinstance(value, Mapping) and "_target_" in value:
            if value.get("_partial_"):
                return instantiate(value, _convert_="all")
            return self.build(path, value, fill)
        return value

    def build_named(self, group: str, fill: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Build the parts of a list in their order, by their names.

        Raises:
            ConfigError: A part cannot be built or is of another kind.
        """
        parts = {}
        for name, part in self.plain[group].items():
            target = target_of(f"{group}.{name}", part, tuple(self.config.trusted))
            if not inspect.isclass(target) and target.__module__.split(".")[0] not in (
                "nas_lightning",
                *self.config.trusted,
            ):
                raise ConfigError(  # before it is called: it could do anything
                    f"{group}.{name}._target_={part['_target_']}: {group} consists of {_KINDS[group].__name__}s, this"
                    " is a function; name a class, or allow its package with trusted=[PACKAGE]"
                )
            built = self.build(f"{group}.{name}", part, fill)
            if not isinstance(built, _KINDS[group]):
                raise ConfigError(
                    f"{group}.{name}._target_={part['_target_']}: {group} consists of"
                    f" {_KINDS[group].__name__}s, it is none"
                )
            parts[name] = built
        return parts

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.build("space", self.plain["space"])

    @cached_property
    def loaders(self) -> LoaderConfig:
        """How images are loaded and split."""
        keys = {key: value for key, value in self.plain["data"].items() if key in LoaderConfig.model_fields}
        return LoaderConfig(**keys)

    @cached_property
    def source(self) -> ImageData:
        """The images, not read yet.

        Raises:
            ConfigError: Their section cannot be built.
        """
        part = dict(self.plain["data"])
        target = target_of("data", part, tuple(self.config.trusted))
        accepted = inspect.signature(target).parameters
        for key in LoaderConfig.model_fields:
            if key not in accepted:
                part.pop(key, None)
        source = self.build("data", part)
        return from_datamodule(source) if isinstance(source, L.LightningDataModule) else source

    @cached_property
    def data(self) -> ImageData:
        """The images, read and checked.

        Raises:
            DataError: They are missing or cannot be used.
        """
        self.source.prepare()
        return self.source

    @cached_property
    def objective(self) -> Objective:
        """Loss and metric, bound to the classes of the data."""
        objective: Objective = self.build("objective", self.plain["objective"])
        objective.bind(self.data.num_classes, self.data.train_labels)
        return objective

    @cached_property
    def loggers(self) -> RunLoggers:
        """The loggers, which all phases of the run share; the first of its processes alone has any."""
        run = RunInfo(self.folder, self.plain)
        return RunLoggers(self.build_named("logger", {"run": run}) if ranks.is_first() else {}, run)

    def trainer(
        self,
        phase: str,
        epochs: int,
        checkpoints: Path,
        max_epochs: int,
        checkpoint: EpochCheckpoint | None = None,
        extra: Sequence[L.Callback] = (),
        steering: Sequence[L.Callback] = (),
        watching: Sequence[L.Callback] | None = None,
    ) -> L.Trainer:
        """A Trainer with the watching callbacks; every value of the `trainer` section passes through.

        Args:
            phase: `search` or `evaluation`, as the tables name it.
            epochs: Epochs in all, for the display.
            checkpoints: Folder of the checkpoints.
            max_epochs: Lightning's own limit; -1 where the module ends the fit.
            checkpoint: What saves; None saves the last epoch.
            extra: Further callbacks of the phase that run before the others, such as its cost.
            steering: Its control, which decides on what the watching callbacks found.
            watching: The section `callbacks`, where it was built already.
        """
        tables = Tables(self.folder, phase)
        callbacks = [
            RandomState(),
            *extra,
            *(self.build_named("callbacks").values() if watching is None else watching),
            *steering,
            tables,
            RunLogging(self.loggers, tables),
            LiveDisplay(phase, epochs),
            InterruptAtEpochEnd(),
            Preemption(),
            checkpoint or EpochCheckpoint(checkpoints),
        ]
        strategy = strategy_of(self.plain["trainer"], searches=phase != "evaluation")
        # Lightning's own callbacks ask for a logger in every process.
        loggers: Any = self.loggers.all or ([DummyLogger()] if self.plain["logger"] else False)
        return self.plain_trainer(callbacks, max_epochs, logger=loggers, strategy=strategy)

    def plain_trainer(self, callbacks: Sequence[L.Callback], max_epochs: int, **others: Any) -> L.Trainer:
        """A Trainer with these callbacks only; every value of the `trainer` section passes through.

        Args:
            callbacks: In the order in which they run.
            max_epochs: Lightning's own limit; -1 where the module ends the fit.
            others: Further arguments, which count more than the section's.
        """
        beside = number_of_processes(self.plain["trainer"]) // int(self.plain["trainer"].get("num_nodes") or 1)
        threads = self.config.threads or max(1, DEFAULT_THREADS // beside)
        torch.set_num_threads(threads)
        if beside > 1:  # or Lightning would set another number when it starts the processes
            os.environ["OMP_NUM_THREADS"] = str(threads)
        ours = {
            "max_epochs": max_epochs,
            "callbacks": list(callbacks),
            **others,
            "default_root_dir": str(self.folder.path),
            # Loaders are functions of the epoch, so they are asked for anew each epoch.
            "reload_dataloaders_every_n_epochs": 1,
            "use_distributed_sampler": False,
        }
        defaults = {"num_sanity_val_steps": 0, "enable_progress_bar": False, "enable_model_summary": False}
        section = self.plain["trainer"]
        plugins = section.get("plugins") or []
        ours["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), DurableIO()]
        cluster = environment_of_cluster()
        if cluster is not None:
            ours["plugins"].append(cluster)
        return self.build("trainer", {**defaults, **section, **ours})


def callback_of(trainer: L.Trainer, kind: type[L.Callback]) -> Any:
    """The trainer's callback of a class."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, kind))  # type: ignore[attr-defined]
