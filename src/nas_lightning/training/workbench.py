"""The parts of one run, built from its configuration."""

import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers.logger import DummyLogger

from nas_lightning.callbacks import (
    DurableIO,
    EpochCheckpoint,
    InterruptAtEpochEnd,
    LiveDisplay,
    Preemption,
    RandomState,
    RunLogging,
    Tables,
    TimeLimit,
)
from nas_lightning.config.parts import target_of
from nas_lightning.config.schema import RootConfig, validate
from nas_lightning.config.sections import LoaderConfig
from nas_lightning.core import ranks
from nas_lightning.core.costs import Costs
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.evaluator import Evaluator
from nas_lightning.core.objective import Objective
from nas_lightning.core.part import Part, note_built
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace
from nas_lightning.core.terminal import screen
from nas_lightning.data import ImageData
from nas_lightning.data.from_datamodule import from_datamodule
from nas_lightning.data.source import DataSource
from nas_lightning.deployment.latency import cpu_name
from nas_lightning.loggers import RunInfo, RunLoggers
from nas_lightning.runs.folder import RunFolder
from nas_lightning.training.contracts import check_hooks, check_kind, kinds_at
from nas_lightning.training.places import located, recorded
from nas_lightning.training.processes import accelerator_of, environment_of_cluster, number_of_processes, strategy_of

log = logging.getLogger(__name__)

DEFAULT_THREADS = int(os.environ.setdefault("NAS_LIGHTNING_THREADS", str(torch.get_num_threads())))
"""Torch's default; a run without `threads` gets it back after one that set a number in the same process."""


Made = TypeVar("Made")


class Workbench:
    """Builds the parts of a run from its configuration, each once.

    Args:
        config: The configuration; a mapping is validated here.
        folder: The run folder.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, config: RootConfig | Mapping[str, Any], folder: RunFolder) -> None:
        self.config = validate(config)
        self.folder = folder
        self._made: dict[str, Any] = {}

    def variant(self, config: RootConfig, folder: RunFolder | None = None) -> "Workbench":
        """Return the workbench of another configuration, which shares the images unless `data` differs."""
        other = Workbench(config, folder or self.folder)
        if other.config.data == self.config.data:
            other.data, other.places = self.data, self.places
            if (other.config.space, other.config.evaluation) == (self.config.space, self.config.evaluation):
                other.costs = self.costs
        if other.folder is self.folder:
            other.loggers = self.loggers
        return other

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """Return the object made under a name before, or make it."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def named(self, group: str) -> dict[str, Any]:
        """Return the parts of a list as checks see them; the next fit takes them."""
        return self.once(group, lambda: self.build_named(group))

    def take_named(self, group: str) -> dict[str, Any]:
        """Return the parts of a list for a fit.

        A fit changes their state, so each has its own; the first takes those that were checked.
        """
        made = self.named(group)
        del self._made[group]
        return made

    def part(self, section: str, fill: Mapping[str, Any] | None = None) -> Any:
        """Build the part that a section of the configuration describes.

        Args:
            section: Its name, such as `relaxation`.
            fill: As for `build`.

        Raises:
            ConfigError: It cannot be built or is of another kind.
        """
        return self.build(section, getattr(self.config, section), fill)

    def build(self, path: str, part: Mapping[str, Any], fill: Mapping[str, Any] | None = None) -> Any:
        """Build a part.

        Args:
            path: Key of the part in the configuration.
            part: Its section.
            fill: Values of the run for arguments of these names that the section omits or sets to null.

        Raises:
            ConfigError: The target is not trusted or does not exist, refuses its arguments, or is of another kind.
        """
        target = target_of(path, part, tuple(self.config.trusted))
        kinds = kinds_at(path)
        self._refuse_function(path, part, target, kinds)
        arguments = {key: value for key, value in part.items() if not key.startswith("_")}
        if fill:
            accepted = inspect.signature(target).parameters
            arguments |= {k: v for k, v in fill.items() if k in accepted and arguments.get(k) is None}
        try:
            built = {key: self._argument(f"{path}.{key}", value, fill) for key, value in arguments.items()}
            made: Any
            if inspect.isclass(target) and issubclass(target, Part):
                made = target.standing_at(path, built)
            else:
                made = target(**built)
        except ConfigError:
            raise
        except Exception as error:  # libraries and users' parts raise anything; the traceback goes to run.log
            log.info("%s cannot be built", path, exc_info=True)
            reason = " ".join(str(error).split())
            raise ConfigError(f"{path}: {target.__name__} refuses its arguments ({reason})") from error
        if kinds:
            with suppress(TypeError):  # the class does not support weak references
                note_built(path, made)
        for name, kind in kinds.items():
            if not isinstance(made, kind):
                raise ConfigError(
                    f"{path}._target_={part['_target_']}: {path.partition('.')[0]} consists of {kind.__name__}s, which"
                    f" this is not; derive its class from {name}"
                )
            check_hooks(path, made, kind)
        return made

    def _refuse_function(
        self, path: str, part: Mapping[str, Any], target: Callable[..., Any], kinds: Mapping[str, type]
    ) -> None:
        """Refuse a function of another package in place of a class, before it is called: it could do anything."""
        ours = target.__module__.split(".")[0] in ("nas_lightning", *self.config.trusted)
        if kinds and not inspect.isclass(target) and not ours:
            group, kind = path.partition(".")[0], next(iter(kinds.values())).__name__
            raise ConfigError(
                f"{path}._target_={part['_target_']}: {group} consists of {kind}s, but this is a function; name a"
                " class, or allow its package with trusted=[PACKAGE]"
            )

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
        section: Mapping[str, Mapping[str, Any]] = getattr(self.config, group)
        return {name: self.build(f"{group}.{name}", part, fill) for name, part in section.items()}

    @cached_property
    def selector(self) -> Selector:
        """The selector."""
        return self.part("selector", {"costs": self.costs})

    @cached_property
    def costs(self) -> Costs:
        """Costs of the networks that the evaluator judges, measured when one is asked for."""
        return Costs(
            self.space,
            lambda genotype: self.evaluator.bare_network(genotype, self),
            lambda: self.evaluator.unit(self),
            self._hardware,
        )

    def _hardware(self) -> tuple[str, int | None]:
        if accelerator_of(self.config.trainer) == "cuda":
            return torch.cuda.get_device_name(), None
        return cpu_name(), self.config.threads or torch.get_num_threads()

    @cached_property
    def evaluator(self) -> Evaluator:
        """The evaluator."""
        evaluator: Evaluator = self.build("evaluation", located("evaluation", self.config.evaluation, self.places))
        check_kind("evaluation", evaluator, evaluator.inputs, self.space)
        return evaluator

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.part("space")

    @cached_property
    def places(self) -> dict[str, Any]:
        """Recorded places of images and tables: of this run, or of the run whose images it uses."""
        return recorded(self.folder, self.config.run).get("places", {})

    @cached_property
    def loaders(self) -> LoaderConfig:
        """Settings of loaders and splits, from the section `data`."""
        section = located("data", self.config.data, self.places)
        keys = {key: value for key, value in section.items() if key in LoaderConfig.model_fields}
        return LoaderConfig(**keys)

    @cached_property
    def source(self) -> DataSource:
        """The data, not read yet.

        Raises:
            ConfigError: Their section cannot be built, or the space reads another kind of data.
        """
        part = located("data", self.config.data, self.places)
        target = target_of("data", part, tuple(self.config.trusted))
        accepted = inspect.signature(target).parameters
        kind = target if inspect.isclass(target) and issubclass(target, DataSource) else ImageData
        for key in kind.loader_keys:
            if key not in accepted:
                part.pop(key, None)
        built = self.build("data", part)
        source: DataSource = from_datamodule(built) if isinstance(built, L.LightningDataModule) else built
        check_kind("data", source, source.kind, self.space)
        return source

    @cached_property
    def data(self) -> DataSource:
        """The data, read and checked.

        Raises:
            DataError: They are missing or cannot be used.
        """
        self.source.prepare()
        if ranks.is_first():
            # Names of folders may hold anything: bytes that are no text, line breaks, what rich takes for markup.
            line = " ".join(self.source.found().encode(errors="backslashreplace").decode().split())
            log.info("%s", line)
            screen().print(line, markup=False, highlight=False, soft_wrap=True)
        return self.source

    @property
    def images(self) -> ImageData:
        """The data, where they are images.

        Raises:
            ConfigError: They are of another kind.
        """
        if not isinstance(self.data, ImageData):
            raise ConfigError(
                f"data={self.data.name}: holds {self.data.kind}, but this works on images only; use a set of images"
            )
        return self.data

    @cached_property
    def objective(self) -> Objective:
        """Loss and metric, bound to the classes of the data.

        Raises:
            ConfigError: It cannot be built, or the classes do not suit it.
        """
        objective: Objective = self.part("objective")
        check_kind("objective", objective, objective.inputs, self.space)
        objective.bind(self.data.class_names, self.data.train_labels)
        return objective

    @cached_property
    def loggers(self) -> RunLoggers:
        """The loggers, which all phases of the run share; ranks other than 0 have none."""
        run = RunInfo(self.folder, self.config.to_dict())
        return RunLoggers(self.build_named("logger", {"run": run}) if ranks.is_first() else {}, run)

    def trainer(
        self,
        phase: str,
        epochs: int,
        checkpoints: Path,
        max_epochs: int,
        checkpoint: EpochCheckpoint | None = None,
        extra: Sequence[L.Callback] = (),
        controls: Sequence[L.Callback] = (),
        watching: Sequence[L.Callback] | None = None,
    ) -> L.Trainer:
        """Build the Trainer of a phase; every value of the `trainer` section is passed on.

        Args:
            phase: `search` or `evaluation`, as the tables name it.
            epochs: Total number of epochs, for the display.
            checkpoints: Folder of the checkpoints.
            max_epochs: Lightning's own limit; -1 where the module ends the fit.
            checkpoint: The checkpoint callback; None saves the last epoch only.
            extra: Further callbacks of the phase that run before the others, such as its cost.
            controls: Controls, which act on what the callbacks have measured.
            watching: The section `callbacks`, if it was built already.
        """
        tables = Tables(self.folder, phase)
        # The order matters: random states are restored before anything draws; measurements come before the controls
        # that act on them, and both before tables and loggers, which report them. Interrupt and preemption follow, so
        # that a stop loses no row. Lightning moves the checkpoint behind all of them.
        callbacks = [
            RandomState(),
            *extra,
            *(self.take_named("callbacks").values() if watching is None else watching),
            *controls,
            tables,
            RunLogging(self.loggers, tables),
            LiveDisplay(phase, epochs),
            InterruptAtEpochEnd(),
            Preemption(),
            checkpoint or EpochCheckpoint(checkpoints),
        ]
        strategy = strategy_of(self.config.trainer, searches=phase != "evaluation")
        # Some of Lightning's callbacks require a logger, in every process.
        loggers: Any = self.loggers.all or ([DummyLogger()] if self.config.logger else False)
        return self.plain_trainer(callbacks, max_epochs, logger=loggers, strategy=strategy)

    @cached_property
    def probe(self) -> L.Trainer:
        """A Trainer that trains nothing.

        Its construction checks the section and the callbacks together; it knows device and precision of the run.
        """
        watching = list(self.named("callbacks").values())
        return self.trainer("check", 1, self.folder.checkpoints, max_epochs=1, watching=watching)

    def plain_trainer(self, callbacks: Sequence[L.Callback], max_epochs: int, **others: Any) -> L.Trainer:
        """Build a Trainer with these callbacks only; every value of the `trainer` section is passed on.

        Args:
            callbacks: Callbacks in the order in which they run.
            max_epochs: Lightning's own limit; -1 where the module ends the fit.
            others: Further arguments, which override the section's.
        """
        section = self.config.trainer
        max_time = others.get("max_time", section.get("max_time"))
        local = number_of_processes(self.config.trainer) // int(self.config.trainer.get("num_nodes") or 1)
        threads = self.config.threads or max(1, DEFAULT_THREADS // local)
        torch.set_num_threads(threads)
        if local > 1:  # or Lightning would set another number when it starts the processes
            os.environ["OMP_NUM_THREADS"] = str(threads)
        ours = {
            "max_epochs": max_epochs,
            "callbacks": [*callbacks, *([] if max_time is None else [TimeLimit(max_time)])],
            **others,
            "max_time": None,
            "accelerator": accelerator_of(section),
            "default_root_dir": str(self.folder.path),
            # The order of images is a function of the epoch, so loaders are built anew for each.
            "reload_dataloaders_every_n_epochs": 1,
            "use_distributed_sampler": False,
        }
        defaults = {"num_sanity_val_steps": 0, "enable_progress_bar": False, "enable_model_summary": False}
        plugins = section.get("plugins") or []
        ours["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), DurableIO()]
        cluster = environment_of_cluster()
        if cluster is not None:
            ours["plugins"].append(cluster)
        return self.build("trainer", {**defaults, **section, **ours})


def callback_of(trainer: L.Trainer, kind: type[L.Callback]) -> Any:
    """Return the trainer's callback of a class."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, kind))  # type: ignore[attr-defined]
