"""A few real steps of a search or a retraining, timed; nothing is written."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from nas_lightning.callbacks import CurvatureTracking
from nas_lightning.core.draws import seeded_generator
from nas_lightning.evaluation.module import EvaluationModule
from nas_lightning.evaluation.retraining import Retraining
from nas_lightning.searches.build import build_module, search_data
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.stages import Stage
from nas_lightning.spaces.network import auxiliary_fits
from nas_lightning.training.processes import number_of_processes
from nas_lightning.training.workbench import Workbench

WARM_UP = 2
"""Steps of a kind that are not counted: memory and kernels are being chosen."""
WARM_UP_SECONDS = 10.0
"""What takes longer than this is not done a second time for the warm-up's sake."""
LEAST = 2
"""Steps of a kind that are measured at least, however long they take."""


@dataclass(frozen=True)
class Seconds:
    """What a unit takes: the median, the fastest and the slowest of those that were measured."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, measured: list[float]) -> "Seconds":
        """From single measurements."""
        return cls(statistics.median(measured), min(measured), max(measured))


class Timing(L.Callback):
    """Times training steps until each kind has had its seconds, then batches without gradients; ends the fit.

    Args:
        kinds: Kinds of steps, one after the other.
        seconds: For how long each is measured, at least `LEAST` steps.
        looking: What a batch without gradients is called.

    Attributes:
        measured: Seconds of single steps and batches by kind.
    """

    def __init__(self, kinds: tuple[str, ...], seconds: float, looking: str) -> None:
        self.kinds = list(kinds)
        self.seconds = seconds
        self.looking = looking
        self.measured: dict[str, list[float]] = {}
        self._skipped = 0
        self._start = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Look at the clock, unless the step before has: what is between two steps belongs to the second."""
        if self.kinds:
            self.begin(pl_module, self.kinds[0])
        if batch_idx == 0:
            self._start = _now(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note what the step took; the next kind, or the end, once it has had its time."""
        end = _now(trainer)
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
                self.look(pl_module, finished[0])
                took = _now(trainer) - start
                found += [took] if index else []  # the first one warms up
                if len(found) >= LEAST and sum(found) >= self.seconds / 4:
                    break
        self.measured[self.looking] = found or [took]

    def begin(self, module: Any, kind: str) -> None:
        """Bring the module to where it makes steps of a kind."""

    def look(self, module: Any, images: Tensor) -> Any:
        """What is computed of a batch without gradients."""
        raise NotImplementedError


class SearchTiming(Timing):
    """Times a search: its two kinds of steps, passes of `val`, and a measurement of the curvature.

    Args:
        module: The search.
        seconds: As for `Timing`.
        watching: The callbacks of the run.
    """

    def __init__(self, module: SearchModule, seconds: float, watching: Mapping[str, L.Callback]) -> None:
        self.warm = module.settings.arch.warmup_epochs
        learns = module.hypergradient.learns
        kinds = ("search step", "weight step") if learns and self.warm else ("search step",)
        super().__init__(kinds if learns else ("weight step",), seconds, "val batch")
        self.curvature = [part for part in watching.values() if isinstance(part, CurvatureTracking) and learns]

    def begin(self, module: SearchModule, kind: str) -> None:
        """To the first epoch of the stage, or the first after its warm-up."""
        module.progress.search_epoch = module.progress.first_epoch + (self.warm if kind == "search step" else 0)

    def look(self, module: SearchModule, images: Tensor) -> Tensor:
        """The one-shot model on a batch."""
        mixing, active = module.at_mean()
        return module.supernet(images, mixing, active)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """The curvature, in train mode as it is measured, before the rest."""
        if self.curvature and pl_module.phase == "search":
            took = self.curvature[0].measured(trainer, pl_module).seconds
            if took < WARM_UP_SECONDS:  # a warm-up; where it takes long, what warms up is little of it
                took = self.curvature[0].measured(trainer, pl_module).seconds
            self.measured["curvature"] = [took]
        super().on_train_end(trainer, pl_module)


class RetrainingTiming(Timing):
    """Times a retraining: its steps and passes of the test images."""

    def __init__(self, seconds: float) -> None:
        super().__init__(("training step",), seconds, "test batch")

    def look(self, module: EvaluationModule, images: Tensor) -> Any:
        """The network on a batch."""
        return module.step.outputs(images)


def measure(bench: Workbench, stage: Stage | None, seconds: float) -> dict[str, Seconds]:
    """Time a few steps on the device of the `trainer` section, in one process.

    Args:
        bench: The parts, as the stage sees them.
        stage: Of a search; None is the retraining, of a random genotype.
        seconds: For how long each kind of step is measured, warm-up apart.

    Returns:
        What each kind of unit takes.
    """
    module, data, timing = _retraining(bench, seconds) if stage is None else _search(bench, stage, seconds)
    several = number_of_processes(bench.config.trainer) > 1
    alone = {"devices": 1, "num_nodes": 1} if several else {}
    trainer = bench.plain_trainer(
        [timing],
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        limit_train_batches=1.0,
        limit_val_batches=0,
        strategy="auto",
        **alone,
    )
    trainer.fit(module, datamodule=data)
    return {kind: Seconds.of(measured) for kind, measured in timing.measured.items()}


def _search(bench: Workbench, stage: Stage, seconds: float) -> tuple[L.LightningModule, Any, Timing]:
    module = build_module(bench, stage)
    for control in bench.build_named("control").values():
        control.at_stage_start(module)
    timing = SearchTiming(module, seconds, bench.build_named("callbacks"))
    timing.begin(module, timing.kinds[0])
    module.progress.last_epoch = 2**31  # the timing ends it
    return module, search_data(bench), timing


def _retraining(bench: Workbench, seconds: float) -> tuple[L.LightningModule, Any, Timing]:
    recipe, data = bench.evaluator, bench.data
    assert isinstance(recipe, Retraining)
    genotype = bench.space.genotype_of(bench.space.sample(seeded_generator(bench.config.seed, "plan"), False))
    auxiliary = recipe.auxiliary > 0 and auxiliary_fits(data.image_size, recipe.stem)
    network = bench.space.network(
        genotype, data.num_classes, data.in_channels, recipe.init_channels, recipe.layers, auxiliary, recipe.stem
    )
    module = EvaluationModule(network, bench.objective, recipe, bench.config.seed)
    return module, recipe.training_data(bench), RetrainingTiming(seconds)


def _now(trainer: L.Trainer) -> float:
    """The clock, once the device has done what it was told."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
