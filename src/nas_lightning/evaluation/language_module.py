"""The Lightning module that trains a language model: rates that follow chunks, averaged weights, the best epoch."""

import logging
from typing import Any

import torch
from torch import Tensor

from nas_lightning.core.batches import Batch, rate_of
from nas_lightning.core.errors import NonFiniteError
from nas_lightning.core.objective import Objective
from nas_lightning.evaluation.averaging import AveragedSgd, stalled
from nas_lightning.evaluation.module import EvaluationModule
from nas_lightning.evaluation.recipe import BaseRecipe
from nas_lightning.training.metrics import restore_metrics

log = logging.getLogger(__name__)


class LanguageModule(EvaluationModule):
    """Trains one language model on text; the weights of its best epoch on the validation text are tested.

    Source: released code of DARTS for recurrent cells, after that of Merity et al. for LSTMs. Deviations: after a loss
    that is not finite, training goes on from the best weights a limited number of times, with the optimizer as it is.

    Args:
        network: The language model.
        objective: Loss and metric.
        recipe: Epochs, rates and clipping.
        seed: Keys the draws of dropouts.
        genotype: Genotype of the network as a dictionary; kept in the checkpoint.
        nonmono: See `LanguageTraining`.
        recoveries: Likewise.

    Attributes:
        validated: Mean loss on the validation text after each epoch, until weights are averaged.
        best_weights: State of the network at its best epoch, on the CPU; None before the first.
        recovered: How often training went on from them after a loss that was not finite.
    """

    best_weights: dict[str, Tensor] | None = None
    recovered: int = 0
    _base_lr: float = 0.0
    _measured_before: dict[str, dict[str, Tensor]]

    def __init__(
        self,
        network: torch.nn.Module,
        objective: Objective,
        recipe: BaseRecipe,
        seed: int,
        genotype: dict[str, Any] | None = None,
        nonmono: int = 5,
        recoveries: int = 0,
    ) -> None:
        super().__init__(network, objective, recipe, seed, genotype)
        self.nonmono = nonmono
        self.recoveries = recoveries
        self.validated: list[float] = []
        self._keyed_val = self.goal.key("val")

    def _averaging(self) -> AveragedSgd | None:
        """Return the optimizer, if it can average weights."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        return optimizer if isinstance(optimizer, AveragedSgd) else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a chunk, after setting the rate of its step: in proportion to its length."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        for group in optimizer.param_groups:
            group["lr"] = self._base_lr * rate_of(batch[0])
        self._measured_before = {
            name: {key: value.clone() for key, value in metric.metric_state.items()}
            for name, metric in self.running.items()
        }
        return super().training_step(batch, batch_idx)

    def _follow_schedules(self) -> None:
        super()._follow_schedules()
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        self._base_lr = optimizer.param_groups[0]["lr"]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Refuse the step of a non-finite loss, or take no step and go on from the best weights; count the others.

        Raises:
            NonFiniteError: Such a loss, and no best weights yet, or too many of them before.
        """
        try:
            super().on_before_optimizer_step(optimizer)
        except NonFiniteError as error:  # raised in all processes at once
            if self.best_weights is None or self.recovered >= self.recoveries:
                raise
            self.recovered += 1
            self.num_steps += 1
            log.warning(
                "%s; going on from the best weights, %d of evaluation.recoveries=%d times",
                *(str(error).partition(";")[0], self.recovered, self.recoveries),
            )
            self._go_back()

    def _go_back(self) -> None:
        """Load the best weights, and forget the chunk: its gradients, its state and its part in the metrics."""
        assert self.best_weights is not None
        self.network.load_state_dict(self.best_weights)
        self.zero_grad()
        self.streams.begin("train")
        restore_metrics(self.running, self._measured_before)

    def on_validation_epoch_start(self) -> None:
        """Put averages in the place of the weights, where there are any."""
        super().on_validation_epoch_start()
        self._exchange()

    def on_validation_epoch_end(self) -> None:
        """Log the metric of the validation text, keep the best weights, begin to average where it has stalled."""
        value = self.goal.in_unit(self.test_metric.compute())
        self.test_metric.reset()
        self.log(self._keyed_val, value, sync_dist=True)
        if self.goal.better(self.best, float(value)) != self.best:
            self.best = float(value)
            # A copy even on the CPU: the weights go on.
            state = self.network.state_dict()
            self.best_weights = {name: weight.detach().to("cpu", copy=True) for name, weight in state.items()}
        self._exchange()
        optimizer = self._averaging()
        if optimizer is not None and not optimizer.averaging:
            if stalled(self.validated, float(value), self.nonmono):
                log.info("epoch %d: weights are averaged from now on", self.current_epoch)
                optimizer.begin_averaging()
            self.validated.append(float(value))

    def _exchange(self) -> None:
        optimizer = self._averaging()
        if optimizer is not None:
            optimizer.exchange()

    def on_test_epoch_start(self) -> None:
        """Load the weights of the best epoch, which are tested; those of the last stay in its checkpoint."""
        super().on_test_epoch_start()
        if self.best_weights is not None:
            self.network.load_state_dict(self.best_weights)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the best weights, and what decides about averages and recoveries, too."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["evaluation"]["language"] = {
            "validated": list(self.validated),
            "best_weights": self.best_weights,
            "recovered": self.recovered,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` saved."""
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint["evaluation"]["language"]
        self.validated = list(saved["validated"])
        self.best_weights = saved["best_weights"]
        self.recovered = saved["recovered"]
