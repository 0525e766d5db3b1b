"""Evaluate the one-shot model on `val`, for selectors, decisions and analyses."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from nas_lightning.core import draws
from nas_lightning.core.batches import Batch, Streams, all_finite, nbytes_of, placed_inputs
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.errors import GenotypeError
from nas_lightning.core.functional import batch_statistics, evaluating
from nas_lightning.core.one_shot import BatchNormMode, OneShot
from nas_lightning.core.terminal import print_line, track_progress
from nas_lightning.data.streams import SearchStreams
from nas_lightning.searches.module import SearchModule

KEPT_BYTES = 2**30
"""Limit in bytes on `val` images kept in memory, which are then read and augmented once for all masks of a decision."""


class OneShotModel:
    """Metric and loss of the one-shot model on `val` for any mixing weights: equal images for equal orders.

    Args:
        module: The searched module.
        data: The images of the search, set up.
        trainer: Gives device and precision.
        batch_size: Images per batch; None takes that of the search.
        between: Called after each batch; it may raise to end the evaluation.

    Attributes:
        batches: Batches evaluated so far.
    """

    def __init__(
        self,
        module: SearchModule,
        data: SearchStreams,
        trainer: L.Trainer,
        batch_size: int | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self.module = module
        self.data = data
        self.batch_size = batch_size
        self.between = between
        self.device = trainer.strategy.root_device
        self.forward_context = trainer.precision_plugin.forward_context
        self.batches = 0
        self._kept: list[Batch] = []
        self._rest: Iterator[Batch] | None = None

    def accuracy(
        self,
        mixing: Mixing,
        active: Active | None = None,
        batches: int | range | None = None,
        batch_norm: BatchNormMode = "eval",
        order: str | None = None,
    ) -> float:
        """Return the metric in its unit, negated if smaller is better. Arguments: see `core.one_shot.Measure`."""
        metric = self.module.objective.new_metric().to(self.device)
        for outputs, targets in self._outputs(mixing, active, batches, batch_norm, order):
            metric.update(outputs, targets)
        return self._value(metric)

    def loss(
        self,
        mixing: Mixing,
        active: Active | None = None,
        batches: int | range | None = None,
        batch_norm: BatchNormMode = "eval",
        order: str | None = None,
    ) -> float:
        """Return the mean loss per image. Arguments: see `core.one_shot.Measure`."""
        mean = MeanMetric().to(self.device)
        for outputs, targets in self._outputs(mixing, active, batches, batch_norm, order):
            mean.update(self.module.objective.loss(outputs, targets), weight=self.module.objective.weight(targets))
        return float(mean.compute())

    def loss_and_accuracy(
        self,
        mixing: Mixing,
        active: Active | None = None,
        batches: int | range | None = None,
        batch_norm: BatchNormMode = "eval",
        order: str | None = None,
    ) -> tuple[float, float]:
        """Return loss and metric of a single pass over the images."""
        mean, metric = MeanMetric().to(self.device), self.module.objective.new_metric().to(self.device)
        for outputs, targets in self._outputs(mixing, active, batches, batch_norm, order):
            mean.update(self.module.objective.loss(outputs, targets), weight=self.module.objective.weight(targets))
            metric.update(outputs, targets)
        return float(mean.compute()), self._value(metric)

    def _value(self, metric: Metric) -> float:
        goal = self.module.goal
        return goal.sign * goal.in_unit(float(metric.compute()))

    def _outputs(
        self,
        mixing: Mixing,
        active: Active | None,
        batches: int | range | None,
        batch_norm: BatchNormMode,
        order: str | None,
    ) -> Iterator[tuple[Any, Tensor]]:
        """Yield outputs and targets batch by batch; mode and buffers of the supernet stay as they were.

        Text is read on from the batch before; where that is another than the one just evaluated, from a state of zeros.

        Raises:
            GenotypeError: Outputs are NaN or infinite.
        """
        module = self.module.to(self.device)
        mixing = {name: weights.to(self.device) for name, weights in mixing.items()}
        mode = evaluating if batch_norm == "eval" else batch_statistics
        streams, before = Streams(), -1
        for index, (inputs, targets) in self._val(batches) if order is None else self._shuffled(batches, order):
            if index != before + 1:
                streams.begin("val")
            before = index
            # Keyed by the batch alone: all mixing weights are compared under the same noise.
            scope = draws.keyed(module.seed, 0, f"selection {index}")
            with torch.no_grad(), mode(module.supernet), self.forward_context(), scope:
                outputs = module.passes(streams.before("val", placed_inputs(inputs, self.device)), mixing, active)
            streams.after("val", outputs)
            if not all_finite(outputs):
                raise GenotypeError(
                    "selector: the supernet's outputs are not finite, the search diverged; lower search.weights.lr or"
                    " search.arch.lr, or set search.weights.clip"
                )
            self.batches += 1
            yield outputs, targets.to(self.device)
            self.between()

    @property
    def passes(self) -> float:
        """Passes over all of `val` so far."""
        return round(self.batches / self._number, 2)

    @property
    def _number(self) -> int:
        return len(self.data.selection_dataloader(self.batch_size))

    def _val(self, batches: int | range | None) -> Iterable[tuple[int, Batch]]:
        """Return the batches with their numbers; they stay in memory, unless all are wanted and might not fit."""
        if batches is None:
            if not self._fits():
                return enumerate(self._loaded())
            batches = self._number
        wanted = range(min(batches, self._number)) if isinstance(batches, int) else batches
        numbers = [index % self._number for index in wanted]
        self._keep(max(numbers, default=-1) + 1)
        return [(index, self._kept[index]) for index in numbers]

    def _shuffled(self, batches: int | range | None, order: str) -> Iterator[tuple[int, Batch]]:
        """Yield the batches of a shuffled order with their numbers; they are loaded anew and not kept."""
        wanted = range(self._number if batches is None else batches) if not isinstance(batches, range) else batches
        numbers = {index % self._number for index in wanted}
        for index, batch in zip(range(max(numbers, default=-1) + 1), self._loaded(order), strict=False):
            if index in numbers:
                yield index, batch

    def _keep(self, count: int) -> None:
        """Load the first `count` batches into memory, each once."""
        if self._rest is None:
            self._rest = self._loaded()
        self._kept += islice(self._rest, max(0, count - len(self._kept)))

    def _fits(self) -> bool:
        """Return whether all of `val` fits into `KEPT_BYTES`, judged by its first batch."""
        self._keep(1)
        return self._number * nbytes_of(self._kept[0][0]) <= KEPT_BYTES

    def _loaded(self, order: str | None = None) -> Iterator[Batch]:
        stream = "selection" if order is None else f"selection {order}"
        for index, batch in enumerate(self.data.selection_dataloader(self.batch_size, order)):
            yield self.module.seen(batch, f"{stream} {index}") if self.data.val_is_augmented else batch


def one_shot_of(module: SearchModule, model: OneShotModel) -> OneShot:
    """Return the view of a trained supernet that selectors work with."""
    arch = {name: a.detach() for name, a in module.arch.items()}
    return OneShot(
        module.space,
        module.relaxation,
        arch,
        module.seed,
        model.accuracy,
        model.loss,
        module.decisions,
        track_progress,
        print_line,
        module.goal,
    )
