"""Time a few real steps of a search or a retraining; nothing is written."""

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch

from nas_lightning.callbacks import CurvatureTracking
from nas_lightning.core.batches import Inputs
from nas_lightning.evaluation.module import EvaluationModule
from nas_lightning.evaluation.training import Training
from nas_lightning.searches.build import search_data, stand_in
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.stages import Stage
from nas_lightning.spaces.enumeration import random_genotype
from nas_lightning.training.processes import number_of_processes
from nas_lightning.training.workbench import Workbench

WARM_UP = 2
"""Steps of a kind that are not measured, during which torch allocates memory and selects kernels."""
WARM_UP_SECONDS = 10.0
"""A curvature measurement that takes longer is not repeated: its warm-up is a small share of it."""
LEAST = 2
"""Fewest measured steps of a kind, however long they take."""


@dataclass(frozen=True)
class Seconds:
    """Seconds of a unit: the median, the fastest and the slowest measurement."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, measured: list[float]) -> "Seconds":
        """Summarize single measurements."""
        return cls(statistics.median(measured), min(measured), max(measured))


class Timing(L.Callback):
    """Time training steps of each kind in turn, end the fit, then time batches without gradients.

    Args:
        kinds: Kinds of steps, in the order of their measurement.
        seconds: Seconds for which each kind is measured, at least for `LEAST` steps.
        pass_kind: Kind of a batch without gradients.

    Attributes:
        measured: Seconds of single steps and batches, by kind.
    """

    def __init__(self, kinds: tuple[str, ...], seconds: float, pass_kind: str) -> None:
        self.kinds = list(kinds)
        self.seconds = seconds
        self.pass_kind = pass_kind
        self.measured: dict[str, list[float]] = {}
        self._skipped = 0
        self._start = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start the clock in the first batch; a later step starts at the end of the one before, loading included."""
        if self.kinds:
            self.begin(pl_module, self.kinds[0])
        if batch_idx == 0:
            self._start = _now(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Record the step; after `seconds` of a kind go to the next, after the last one stop the fit."""
        end = _now(trainer)
        # The next step starts here, not at its `on_train_batch_start`: loading its batch counts as part of it.
        took, self._start = end - self._start, end
        if not self.kinds:
            return
        if self._skipped < WARM_UP:
            self._skipped += 1
            return
        found = self.measured.setdefault(self.kinds[0], [])
        found.append(took)
        if len(found) >= LEAST and sum(found) >= self.seconds:
            self.kinds.pop(0)
            self._skipped = 0
        if not self.kinds:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Time batches without gradients."""
        pl_module.eval()
        images = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        found: list[float] = []
        with torch.no_grad():
            for index, batch in enumerate(images):
                start = _now(trainer)
                finished = trainer.datamodule.on_after_batch_transfer(  # type: ignore[attr-defined]
                    trainer.strategy.batch_to_device(batch, pl_module.device), 0
                )
                self.forward_pass(pl_module, finished[0])
                took = _now(trainer) - start
                found += [took] if index else []  # the first one is the warm-up
                if len(found) >= LEAST and sum(found) >= self.seconds / 4:
                    break
        self.measured[self.pass_kind] = found or [took]

    def begin(self, module: Any, kind: str) -> None:
        """Bring the module to a state in which its steps are of a kind."""

    def forward_pass(self, module: Any, inputs: Inputs) -> Any:
        """Compute the outputs of a batch without gradients."""
        raise NotImplementedError


class SearchTiming(Timing):
    """Time a search: its two kinds of steps, batches of `val`, and one curvature measurement.

    Args:
        module: The search.
        seconds: As for `Timing`.
        callbacks: Callbacks of the run, by name.
    """

    def __init__(self, module: SearchModule, seconds: float, callbacks: Mapping[str, L.Callback]) -> None:
        self.warm, self.interval = module.settings.arch.warmup_epochs, module.settings.arch.interval
        learns = module.hypergradient.learns
        alone = self.warm or self.interval > 1
        kinds = ("search step", "weight step") if learns and alone else ("search step",)
        super().__init__(kinds if learns else ("weight step",), seconds, "val batch")
        self.curvature = [part for part in callbacks.values() if isinstance(part, CurvatureTracking) and learns]

    def begin(self, module: SearchModule, kind: str) -> None:
        """Go to the first epoch of the stage; for a search step to one with an architecture step, after its warm-up."""
        searches = kind == "search step"
        module.progress.search_epoch = module.progress.first_epoch + (self.warm if searches else 0)
        if self.interval > 1:
            module.progress.num_steps = self.interval - 1 if searches else 0

    def forward_pass(self, module: SearchModule, inputs: Inputs) -> Any:
        """Compute the outputs of the one-shot model."""
        mixing, active = module.at_mean()
        return module.supernet(inputs, mixing, active)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Time the curvature first, because it is measured in train mode, then the batches without gradients."""
        if self.curvature and pl_module.phase == "search":
            took = self.curvature[0].measured(trainer, pl_module).seconds
            if took < WARM_UP_SECONDS:  # that was the warm-up
                took = self.curvature[0].measured(trainer, pl_module).seconds
            self.measured["curvature"] = [took]
        super().on_train_end(trainer, pl_module)


class InSteps(L.Callback):
    """Let controls act inside of steps, where they cost time, and not at the end of an epoch, where they steer.

    Args:
        controls: Controls of the run.
    """

    def __init__(self, controls: Iterable[L.Callback]) -> None:
        self.controls = list(controls)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forward the hook."""
        for control in self.controls:
            control.on_fit_start(trainer, pl_module)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Forward the hook."""
        for control in self.controls:
            control.on_before_optimizer_step(trainer, pl_module, optimizer)


class RetrainingTiming(Timing):
    """Time a retraining: its steps and batches of the test images."""

    def __init__(self, seconds: float) -> None:
        super().__init__(("training step",), seconds, "test batch")

    def forward_pass(self, module: EvaluationModule, inputs: Inputs) -> Any:
        """Compute the outputs of the network."""
        return module.step.outputs(inputs)


_Callbacks = tuple[Timing, *tuple[L.Callback, ...]]


def measure(bench: Workbench, stage: Stage | None, seconds: float) -> dict[str, Seconds]:
    """Time a few steps on one device of the `trainer` section, in this process.

    Args:
        bench: The workbench, as the stage changes it.
        stage: Stage of a search; None times the retraining of a random genotype.
        seconds: Seconds for which each kind of step is measured, without its warm-up.

    Returns:
        Seconds of each kind of unit.
    """
    module, data, callbacks = _retraining(bench, seconds) if stage is None else _search(bench, stage, seconds)
    # One process suffices: every rank takes the same steps, and communication is left out of a plan.
    several = number_of_processes(bench.config.trainer) > 1
    alone = {"devices": 1, "num_nodes": 1} if several else {}
    trainer = bench.plain_trainer(
        callbacks,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        limit_train_batches=1.0,
        limit_val_batches=0,
        strategy="auto",
        **alone,
    )
    trainer.fit(module, datamodule=data)
    timing = callbacks[0]
    return {kind: Seconds.of(measured) for kind, measured in timing.measured.items()}


def _search(bench: Workbench, stage: Stage, seconds: float) -> tuple[L.LightningModule, Any, _Callbacks]:
    module = stand_in(bench, stage)
    timing = SearchTiming(module, seconds, bench.build_named("callbacks"))
    timing.begin(module, timing.kinds[0])
    module.progress.last_epoch = 2**31  # `Timing` stops the fit
    return module, search_data(bench), (timing, InSteps(bench.build_named("control").values()))


def _retraining(bench: Workbench, seconds: float) -> tuple[L.LightningModule, Any, _Callbacks]:
    recipe = bench.evaluator
    assert isinstance(recipe, Training)
    network = recipe.network(random_genotype(bench.space, bench.config.seed), bench)
    return recipe.module(network, bench), recipe.training_data(bench), (RetrainingTiming(seconds),)


def _now(trainer: L.Trainer) -> float:
    """Return the time in seconds once the device has finished its queued work."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
