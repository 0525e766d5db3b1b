"""Derive the genotype from a trained supernet, and say what that cost."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from nas_lightning import draws
from nas_lightning.draws import seeded_generator
from nas_lightning.errors import ConfigError
from nas_lightning.functional import evaluating
from nas_lightning.lightning.data import SearchData
from nas_lightning.lightning.search import SearchModule
from nas_lightning.lightning.workbench import Workbench
from nas_lightning.protocols import OneShot
from nas_lightning.spaces.choices import Active, Mixing
from nas_lightning.spaces.genotypes import Genotype


class OneShotAccuracy:
    """The metric of the one-shot model on `val` for any mixing weights: always the same images.

    Args:
        bench: Objective, trainer settings and seed of the run.
        module: The searched module.
        data: The images of the search, set up.

    Attributes:
        batches: Batches evaluated so far.
    """

    def __init__(self, bench: Workbench, module: SearchModule, data: SearchData) -> None:
        self.module = module
        self.data = data
        self.seed = bench.config.seed
        self.objective = bench.objective
        # As the fit ran: on its device, in its precision.
        trainer = bench.trainer("selection", 1, bench.folder.checkpoints, max_epochs=1, watching=())
        self.device = trainer.strategy.root_device
        self.forward_context = trainer.precision_plugin.forward_context
        self.batches = 0
        self._few: list[tuple[Tensor, Tensor]] = []

    def __call__(self, mixing: Mixing, active: Active | None, batches: int | None) -> float:
        """Metric in its unit, larger is better, on the first `batches` batches or on all."""
        module = self.module.to(self.device)
        mixing = {name: weights.to(self.device) for name, weights in mixing.items()}
        metric = self.objective.new_metric().to(self.device)
        with torch.no_grad(), evaluating(module.supernet), self.forward_context():
            for index, (images, targets) in enumerate(self._val(batches)):
                with draws.keyed(self.seed, 0, f"selection {index}"):
                    outputs = module.supernet(images.to(self.device), mixing, active)
                metric.update(outputs, targets.to(self.device))
                self.batches += 1
        value = 100 * float(metric.compute())
        return value if self.objective.direction == "max" else -value

    @property
    def passes(self) -> float:
        """Passes over the whole of `val` so far."""
        return round(self.batches / len(self.data.selection_dataloader()), 2)

    def _val(self, batches: int | None) -> Iterable[tuple[Tensor, Tensor]]:
        """The first batches, which are kept, or all of them, which might not fit into memory."""
        if batches is None:
            return self._loaded()
        if len(self._few) < batches:
            self._few = list(islice(self._loaded(), batches))
        return self._few[:batches]

    def _loaded(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index, batch in enumerate(self.data.selection_dataloader()):
            yield self.module.seen(batch, f"selection {index}") if self.data.val_is_augmented else batch


def _no_supernet(mixing: Mixing, active: Active | None, batches: int | None) -> float:
    raise ConfigError("selector: it says that it needs no supernet, so none was trained, but it asks for an accuracy")


def track_progress(items: Sequence[Any], title: str) -> Iterable[Any]:
    """A bar on a terminal, a line elsewhere."""
    console = Console()
    if console.is_terminal:
        return track(items, description=title, console=console)
    console.print(f"{title}: {len(items)}", highlight=False)
    return items


def select(bench: Workbench, module: SearchModule | None, data: SearchData | None) -> tuple[Genotype, dict[str, Any]]:
    """The genotype that the search ends with, and the `selection` section of the summary.

    Args:
        bench: The parts of the run.
        module: The searched module; None where the selector needs none and nothing was trained.
        data: Its images, set up.
    """
    start = time.perf_counter()
    selector = bench.build("selector", bench.plain["selector"])
    accuracy: OneShotAccuracy | None = None
    if module is None or data is None:
        relaxation = bench.build("relaxation", bench.plain["relaxation"])
        arch = relaxation.init(bench.space.choices, seeded_generator(bench.config.seed, "architecture"))
        one_shot = OneShot(bench.space, relaxation, arch, bench.config.seed, _no_supernet, track_progress)
    else:
        # Where schedules stood at the end of the epoch that the supernet is of, also after a stop or a resume.
        for part in module.regularizers.values():
            part.at_epoch(max(0, module.search_epoch - 1))
        accuracy = OneShotAccuracy(bench, module, data)
        arch = {name: a.detach() for name, a in module.arch.items()}
        one_shot = OneShot(module.space, module.relaxation, arch, bench.config.seed, accuracy, track_progress)
    if hasattr(selector, "select"):
        genotype = selector.select(one_shot)
    else:
        genotype = selector(one_shot.space, one_shot.relaxation, one_shot.arch)
    seconds = round(time.perf_counter() - start, 3)
    return genotype, {"seconds": seconds, "validation_passes": accuracy.passes if accuracy else 0}
