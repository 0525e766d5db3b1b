"""The bilevel search as a LightningModule with manual optimisation: the loop around the steps, and its state.

The module owns the search epoch and ends the search; Lightning's counters only ever go up.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from nas_lightning.core import draws, ranks
from nas_lightning.core.batches import Batch, rate_of
from nas_lightning.core.genotypes import Genotype
from nas_lightning.searches.bilevel import BilevelModule
from nas_lightning.searches.metrics import metrics_of
from nas_lightning.searches.optimizers import weights_learning_rate
from nas_lightning.searches.progress import Progress, Rollback
from nas_lightning.searches.rollback import restore_epoch
from nas_lightning.training.metrics import refuse_several, restore_metrics, state_of_metrics


class SearchModule(BilevelModule):
    """Runs one stage of a search.

    Within an epoch: schedules, then per batch the two steps, then validation. At its end callbacks run first, in this
    order: measurements, controls, tables and loggers; then `on_train_epoch_end` of this module advances the search
    epoch or rolls it back; the checkpoint is written last and holds all of that.

    Attributes:
        arch_batch: The last batch of the arch stream.
        reads_arch: Whether the last step had an architecture step on that batch.
        rollback: Set by a control: where to go back to at the end of this epoch.
        in_epoch: Whether an epoch has begun and not ended.
    """

    searches = True
    lr_keys = "search.weights.lr or search.arch.lr"
    arch_batch: Batch | None = None
    reads_arch: bool = False
    rollback: Rollback | None = None
    in_epoch: bool = False
    _epoch_lr: float = 0.0
    _rate: float = 1.0

    @property
    def row_epoch(self) -> int:
        """The epoch of a row of the tables: it keeps counting over stages and attempts."""
        return self.trainer.current_epoch + self.progress.epoch_offset

    @property
    def attempt(self) -> int:
        """Number of rollbacks so far."""
        return self.progress.attempt

    @property
    def running(self) -> dict[str, Any]:
        """The metrics that are accumulated over an epoch, by their names in a checkpoint."""
        return {"train_metric": self.train_metric, "train_loss": self.train_loss, "arch_loss": self.arch_loss}

    def on_train_start(self) -> None:
        """Set the schedules when training resumes between two batches: such an epoch has no start of its own."""
        if self.in_epoch:
            self._follow_schedules()

    def on_train_epoch_start(self) -> None:
        """Set every schedule from the absolute search epoch."""
        self.in_epoch = True
        self.streams.begin("train", "arch")
        self._follow_schedules()

    def _follow_schedules(self) -> None:
        # Every value is a function of the search epoch, none is advanced from the one before: a resume and a rollback
        # need nothing restored. The weight decay is set here, too, because a control may have changed it.
        start = self.progress.schedule_start
        lr = weights_learning_rate(self.settings, self.search_epoch - start, self.progress.first_epoch - start)
        sgd, _ = self.plain_optimizers()
        for group in sgd.param_groups:
            group["lr"] = lr
            group["weight_decay"] = self.values.weight_decay
        self._epoch_lr, self._rate = lr, 1.0
        for part in self.regularizers.values():
            part.at_epoch(self.progress.position)
        self.curvature = None
        self.log("lr", lr, sync_dist=True)

    def _follow_rate(self, rate: float) -> None:
        """Set the learning rate of a step to its share of the epoch's, which only chunks of text have."""
        if rate != self._rate:
            weights, _ = self.plain_optimizers()
            for group in weights.param_groups:
                group["lr"] = self._epoch_lr * rate
            self._rate = rate

    def training_step(self, batch: Mapping[str, Batch], batch_idx: int) -> None:
        """Take an architecture step and a weight step, in the order of `search.order`, or both at once."""
        batch = {stream: self.seen(part, stream) for stream, part in batch.items()}
        one_level = self.settings.arch.images == "train"
        self.arch_batch = batch["train" if one_level else "arch"]
        self._follow_rate(rate_of(batch["train"][0]))
        self.reads_arch = arch = self.steps_arch and not one_level
        if arch and self.settings.order == "arch_first":
            self.arch_step(batch["train"], batch["arch"], batch_idx)
        self.weight_step(batch["train"], batch_idx, joint=one_level and self.steps_arch)
        if arch and self.settings.order == "weights_first":
            self.arch_step(batch["train"], batch["arch"], batch_idx)
        self.progress.num_steps += 1  # after both: they share the keys of their draws
        if self.trainer.is_last_batch:
            # Validation, selection and the checkpoint follow: all processes have to see the same running statistics.
            ranks.average_statistics(self.supernet)

    def seen(self, batch: Batch, stream: str) -> Batch:
        """Return a batch as the regularizers alter it, once, so that every pass of a step sees the same images.

        A chunk of text comes with the state that its stream has reached.
        """
        inputs, targets = batch
        if isinstance(inputs, Tensor):
            with draws.keyed(self.seed, self.num_steps, f"images {stream}", self.global_rank):
                for part in self.regularizers.values():
                    inputs = part.on_images(inputs)
        return self.streams.before(stream, inputs), targets

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate the one-shot model on `val`, at the mean mixing weights, with running statistics.

        Where `val` is augmented, regularizers alter its images, too: RobustDARTS reports accuracies on cut-out images.
        """
        if self.trainer.datamodule.val_is_augmented:  # type: ignore[attr-defined]
            batch = self.seen(batch, f"val {batch_idx}")
        inputs, targets = batch
        mixing, active = self.at_mean()
        with draws.keyed(self.seed, self.num_steps, f"val {batch_idx}", self.global_rank):
            outputs = self.passes(self.streams.before("val", inputs), mixing, active)
        self.streams.after("val", outputs)
        self.val_metric.update(outputs, targets)
        loss = self.objective.loss(outputs, targets)
        self.log("val_loss", loss, batch_size=self.objective.weight(targets), sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """Begin `val` with a state of zeros, where there is one."""
        self.streams.begin("val")

    def on_validation_epoch_end(self) -> None:
        """Log the metric of `val` in its unit."""
        self.log(self.goal.key("val"), self.goal.in_unit(self.val_metric.compute()), sync_dist=True)
        self.val_metric.reset()

    def on_train_epoch_end(self) -> None:
        """Advance the search epoch, or roll back if a control asks for it; end the stage after its last epoch."""
        # Lightning calls this after ordinary callbacks, which saw the epoch that ended, and before the checkpoint,
        # which must hold the epoch to start next: a resume then never repeats a rollback.
        self.in_epoch = False
        if self.rollback is None:
            self.progress.search_epoch += 1
        else:
            # State of the supernet first, then the position, then the changes: they have to outlive what is restored.
            self.settle(restore_epoch(self.trainer, self.arch, self.rollback.epoch)["decisions"])
            self.progress.go_back(self.rollback)
            for key, value in self.rollback.changes.items():
                self.change(key, value)
            self.rollback = None
        if self.progress.ended:
            self.trainer.should_stop = True

    def epoch_metrics(self) -> dict[str, float]:
        """Return metrics of the epoch besides the logged ones, and reset the accumulators."""
        value = {self.goal.key("train"): self.goal.in_unit(float(self.train_metric.compute()))}
        self.train_metric.reset()
        return value | metrics_of(self)

    def genotype(self) -> Genotype | None:
        """Return the genotype of the current architecture parameters, where they alone determine one."""
        return self.selector(self.space, self.decisions.fixed(self.relaxation.strengths(self.arch)))

    def change(self, key: str, value: float) -> None:
        """Change a value of the configuration from the next epoch on, and record the change for checkpoints."""
        self.values.change(key, value)
        self.progress.changed[key] = value

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state that is neither a parameter nor a buffer: plain tensors and numbers only."""
        checkpoint["search"] = {
            **self.progress.state_dict(),
            "arch": {name: a.detach().cpu() for name, a in self.arch.items()},
            "decisions": self.decisions.state_dict(),
            "built": {name: built.clone() for name, built in self.built.items()},
            "running": state_of_metrics(self.running) if self.in_epoch else {},
            "streams": self.streams.state_dict() if self.in_epoch else {},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore that state; Lightning builds the optimizers afterwards, on the restored architecture parameters.

        Raises:
            ConfigError: The state is one between two batches of a single process, and this run has several.
        """
        state = checkpoint["search"]
        if state["running"]:
            refuse_several(self.trainer.world_size)
        self.arch = {name: a.clone() for name, a in state["arch"].items()}
        # Stage and phase stay those that the module was built for: an analysis trains on in a stage of its own.
        self.progress = replace(
            Progress.from_state(state), stage=self.progress.stage, phase=self.progress.phase, changed={}
        )
        self.settle(state["decisions"])
        for key, value in state["changed"].items():
            self.change(key, value)
        restore_metrics(self.running, state["running"])
        self.streams.load_state_dict(state.get("streams", {}))
        self.in_epoch = bool(state["running"])
