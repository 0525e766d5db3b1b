"""Derive the genotype from a trained supernet, and report the cost."""

import time
from typing import Any

import lightning as L

from nas_lightning.callbacks.stopping import Computation
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.control import Control
from nas_lightning.core.draws import seeded_generator
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import BatchNormMode, OneShot
from nas_lightning.core.selector import Selector
from nas_lightning.core.terminal import track_progress
from nas_lightning.data.streams import SearchStreams
from nas_lightning.searches.module import SearchModule
from nas_lightning.searches.one_shot import OneShotModel, one_shot_of
from nas_lightning.training.workbench import Workbench


class SelectionTuning(Control, L.Callback):
    """Callback that lets a selector that trains decide before each epoch of its stage.

    Its draws depend on the seed and on the decisions so far, so a resumed epoch repeats its decision.

    Args:
        selector: The selector.

    Attributes:
        batches: Batches of `val` evaluated so far.
    """

    key = "selector"

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self.batches = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Make the decisions of this epoch."""
        name = f"the decision before epoch {pl_module.search_epoch}"
        computation = Computation(trainer, name, "it")  # the end of the epoch before is saved
        data = trainer.datamodule  # type: ignore[attr-defined]
        model = OneShotModel(pl_module, data, trainer, self.selector.batch_size, computation.leave_if_asked)
        if self.selector.decide(one_shot_of(pl_module, model), pl_module.search_epoch - pl_module.progress.first_epoch):
            pl_module.settle()
        self.batches += model.batches

    def state_dict(self) -> dict[str, Any]:
        """Return the batches evaluated so far."""
        return {"batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count."""
        self.batches = state_dict["batches"]


def select(
    bench: Workbench, module: SearchModule | None, data: SearchStreams | None, seconds: float = 0.0, batches: int = 0
) -> tuple[Genotype, dict[str, Any]]:
    """Derive the final genotype; return it with the `selection` section of the summary.

    Args:
        bench: The parts of the run.
        module: The searched module; None if the selector needs no supernet and nothing was trained.
        data: Its images, set up.
        seconds: Seconds that the selector's stage took.
        batches: Batches of `val` that the selector's stage evaluated.
    """
    start = time.perf_counter()
    passes = 0.0
    if module is None or data is None:
        relaxation = bench.part("relaxation", {"epochs": bench.config.search.epochs})
        arch = relaxation.init(bench.space.choices, seeded_generator(bench.config.seed, "architecture"))
        one_shot = OneShot(bench.space, relaxation, arch, bench.config.seed, _no_supernet, track=track_progress)
        genotype = bench.selector.select(one_shot)
    else:
        # Set regularizers to the last epoch of this supernet: after a rollback or a restored checkpoint they stand at
        # another one, and drop-path or partial channels would measure a different model.
        for part in module.regularizers.values():
            last = module.search_epoch - module.progress.schedule_start - 1
            part.at_epoch(max(0, last) if module.phase == "search" else module.progress.position)
        # The probe has device and precision of the fit.
        model = OneShotModel(module, data, bench.probe, module.selector.batch_size)
        model.batches = batches
        genotype = module.selector.select(one_shot_of(module, model))
        bench.folder.save_decisions(module.decisions.history)
        passes = model.passes
    seconds += time.perf_counter() - start
    report = bench.selector.report(bench.space, genotype)
    return genotype, {"seconds": round(seconds, 3), "validation_passes": passes, **report}


def _no_supernet(
    mixing: Mixing,
    active: Active | None = None,
    batches: int | range | None = None,
    batch_norm: BatchNormMode = "eval",
    order: str | None = None,
) -> float:
    raise ConfigError("selector: it declares that it needs no supernet, so none was trained, but asks for an accuracy")
