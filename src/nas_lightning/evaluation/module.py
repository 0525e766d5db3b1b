"""The Lightning module that trains a discrete network from scratch, with every setting of the published recipes."""

from typing import Any

import torch
from torch import Tensor

from nas_lightning.callbacks.phase_module import PhaseModule
from nas_lightning.capture.policy import reason_of_processes
from nas_lightning.core import draws, ranks
from nas_lightning.core.batches import Batch, Streams, detached
from nas_lightning.core.objective import Objective
from nas_lightning.core.schedules import drop_path_in_evaluation, learning_rate
from nas_lightning.evaluation.moving_average import moving_average
from nas_lightning.evaluation.recipe import BaseRecipe
from nas_lightning.evaluation.step import TrainingStep, lay_out_like_weights
from nas_lightning.training.finite import FiniteLoss
from nas_lightning.training.metrics import MeanLoss, refuse_several, restore_metrics, state_of_metrics


class EvaluationModule(PhaseModule):
    """Trains and measures one network by a recipe.

    Args:
        network: The discrete network; it may return (logits, auxiliary logits) in train mode.
        objective: Loss and metric.
        recipe: Epochs, rates and regularisation.
        seed: Keys the draws of drop-path.
        genotype: Genotype of the network as a dictionary; kept in the checkpoint.

    Attributes:
        step: The computation of one training step.
        average: Moving average of the weights, which is measured in their place; None where the recipe has none.
        unaveraged: Metric of the weights themselves in the test, in its unit; None without average.
        best: Best held-out metric of any epoch so far, in its unit; logged, never reported as the result.
        metric_name: `test_accuracy`, or `val_accuracy` if the recipe trains on the search halves; `…_metric` where the
            objective is no accuracy.
        in_epoch: True between the start and the end of an epoch.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        objective: Objective,
        recipe: BaseRecipe,
        seed: int,
        genotype: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.recipe = recipe
        self.step = TrainingStep(network, objective, recipe)
        self.average = None if recipe.ema_decay is None else moving_average(network, recipe.ema_decay)
        self._measured = self.step if self.average is None else TrainingStep(self.average.module, objective, recipe)
        self.unaveraged: float | None = None
        self.seed = seed
        self.built_from = genotype
        self.goal = objective.goal
        self.best = self.goal.worst
        self.metric_name = self.goal.key(recipe.measured_on)
        self.num_steps = 0
        self.train_metric = objective.new_metric()
        self.test_metric = objective.new_metric()
        self._unaveraged_metric = objective.new_metric()
        self.train_loss = MeanLoss()  # a checkpoint lacks Lightning's own sums
        self.in_epoch = False
        self.streams = Streams()
        self._finite = FiniteLoss()
        self._batch_idx = 0

    @property
    def running(self) -> dict[str, Any]:
        """Return the metrics that accumulate over an epoch; a checkpoint within an epoch keeps them."""
        return {"train_metric": self.train_metric, "train_loss": self.train_loss}

    def setup(self, stage: str) -> None:
        """Prepare the network for its device."""
        if stage == "fit":
            for step in dict.fromkeys((self.step, self._measured)):
                step.prepare(self.trainer.strategy.root_device)
        for step in dict.fromkeys((self.step, self._measured)):
            step.policy.refuse_any([reason_of_processes(self.trainer.world_size)])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the recipe's optimizer on all weights."""
        return self.step.optimizer()

    def on_train_start(self) -> None:
        """Adapt the restored optimizer, whose state may come from another device or an older version."""
        lay_out_like_weights(self.optimizers(use_pl_optimizer=False))  # type: ignore[arg-type]
        if self.in_epoch:  # resumed within an epoch: Lightning calls no on_train_epoch_start
            self._follow_schedules()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Refuse the step of a non-finite loss; count the others.

        The count keys the draws, so it is saved and restored.
        """
        self._finite.check(self, "training", "train", self._batch_idx)
        self.num_steps += 1

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step, then average; `on_train_batch_end` would come after a checkpoint between two batches."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip to the recipe's norm; Lightning's own clipping refuses fused optimizers under bf16-mixed."""
        self.step.clip()

    def on_train_epoch_start(self) -> None:
        """Set learning rate and drop-path for the epoch."""
        self.in_epoch = True
        self.streams.begin("train")
        self._follow_schedules()

    def on_train_epoch_end(self) -> None:
        """Mark the epoch as ended, before its checkpoint is written."""
        self.in_epoch = False

    def _follow_schedules(self) -> None:
        recipe, epoch = self.recipe, min(self.current_epoch, self.recipe.epochs - 1)  # a plan goes beyond the last
        lr = learning_rate(recipe.schedule, epoch, recipe.epochs, recipe.lr, recipe.lr_min, recipe.warmup_epochs)
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = lr
        growing = recipe.drop_path_schedule == "growing"
        drop = drop_path_in_evaluation(epoch, recipe.epochs, recipe.drop_path) if growing else recipe.drop_path
        self.network.drop_probability = drop  # type: ignore[assignment]
        self.log("lr", lr, sync_dist=True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of the main head plus the weighted loss of the auxiliary head."""
        inputs, targets = batch
        with draws.keyed(self.seed, self.num_steps, "evaluation", self.global_rank):
            loss, outputs = self.step.loss(self.streams.before("train", inputs), targets)
        self.streams.after("train", outputs)
        self._finite.watch(loss)
        self._batch_idx = batch_idx
        if not self.recipe.mixes:
            self.train_metric.update(detached(outputs), targets)
        weight = self.objective.weight(targets)
        self.train_loss.update(loss.detach(), weight)
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True, batch_size=weight)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the metric with a held-out batch."""
        inputs, targets = batch
        with draws.keyed(self.seed, self.num_steps, f"test {batch_idx}", self.global_rank):
            outputs = self._measured.outputs(self.streams.before("test", inputs))
        self.streams.after("test", outputs)
        self.test_metric.update(outputs, targets)

    def on_validation_epoch_end(self) -> None:
        """Log the metric of the epoch and update the best."""
        value = self.goal.in_unit(self.test_metric.compute())
        self.test_metric.reset()
        self.best = self.goal.better(self.best, float(value))
        self.log(self.metric_name, value, sync_dist=True)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the final metric with a batch, and that of the weights without averaging."""
        self.validation_step(batch, batch_idx)
        if self.average is not None:
            inputs, targets = batch
            with draws.keyed(self.seed, self.num_steps, f"test {batch_idx}", self.global_rank):
                self._unaveraged_metric.update(self.step.outputs(inputs), targets)

    def on_test_epoch_start(self) -> None:
        """Begin the held-out text with a state of zeros, where there is one."""
        self.streams.begin("test")

    def on_test_epoch_end(self) -> None:
        """Log the final metric."""
        self.log(self.metric_name, self.goal.in_unit(self.test_metric.compute()), sync_dist=True)
        self.test_metric.reset()
        if self.average is not None:
            self.unaveraged = float(self.goal.in_unit(self._unaveraged_metric.compute()))
            self._unaveraged_metric.reset()

    def on_validation_epoch_start(self) -> None:
        """Broadcast the running statistics of rank 0, which DDP does only at the start of a training step."""
        self.streams.begin("test")
        ranks.take_over(list(self.network.buffers()))
        if self.average is not None:
            ranks.take_over(list(self.average.module.buffers()))

    def epoch_metrics(self) -> dict[str, float]:
        """Return the metric on train, measured during training, and the probability of drop-path.

        Of mixtures of images there is none: they have two labels.
        """
        value = {}
        if not self.recipe.mixes:
            value[self.goal.key("train")] = self.goal.in_unit(float(self.train_metric.compute()))
            self.train_metric.reset()
        if self.recipe.drop_path > 0:
            value["drop_path"] = float(self.network.drop_probability)  # type: ignore[arg-type]
        return value

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the best value, the step count, the genotype and, within an epoch, the metrics so far."""
        checkpoint["evaluation"] = {
            "best": self.best,
            "num_steps": self.num_steps,
            "genotype": self.built_from,
            "running": state_of_metrics(self.running) if self.in_epoch else {},
            "streams": self.streams.state_dict() if self.in_epoch else {},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` saved, except the genotype."""
        saved = checkpoint["evaluation"]
        if saved["running"]:
            refuse_several(self.trainer.world_size)
        self.best = saved["best"]
        self.num_steps = saved["num_steps"]
        restore_metrics(self.running, saved["running"])
        self.streams.load_state_dict(saved.get("streams", {}))
        self.in_epoch = bool(saved["running"])
