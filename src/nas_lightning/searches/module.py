"""The bilevel search as a LightningModule with manual optimisation.

One training step is an architecture step (outer problem, on the arch batch) and a weight step (inner problem, on the
train batch). Gradients are computed only for what the step updates. The module owns the search epoch and ends the
search; Lightning's counters only ever go up.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torchmetrics import MeanMetric

from nas_lightning.callbacks.phase_module import PhaseModule
from nas_lightning.config.schema import SearchConfig
from nas_lightning.core import draws, ranks
from nas_lightning.core.bilevel import Bilevel, Hypergradient, Loss, Tensors
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.decisions import Decisions, held_entries
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import evaluating, frozen_batch_stats, full_precision
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.objective import Objective
from nas_lightning.core.perturbation import Perturbation
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.relaxation import Relaxation
from nas_lightning.core.schedules import learning_rate, restarted
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace
from nas_lightning.hypergradients import SGDStep
from nas_lightning.searches.adjustable import AdjustableValues
from nas_lightning.searches.metrics import metrics_of
from nas_lightning.searches.progress import Progress, Rollback
from nas_lightning.searches.rollback import restore_epoch
from nas_lightning.training.finite import FiniteLoss
from nas_lightning.training.metrics import restore_metrics, state_of_metrics

Batch = tuple[Tensor, Tensor]


class SearchModule(PhaseModule):
    """Searches one stage.

    Args:
        space: What may be searched.
        supernet: The supernet of that space.
        relaxation: Architecture parameters → mixing weights.
        hypergradient: Estimator of the outer gradient.
        perturbation: Acts on the mixing weights of the weight step.
        regularizers: Parts inside the supernet, by their names.
        selector: Derives the genotype of every epoch.
        objective: Loss and metric.
        settings: The `search` section of the configuration.
        seed: The run's seed; all draws are keyed by it.

    Attributes:
        arch: Architecture parameters by choice, each [R, O]. They are plain tensors, not parameters of the module:
            no weight list, clipping norm, parameter count or DDP wrapper ever sees them.
        decisions: What is settled of the architecture so far.
        progress: Where the search stands.
        values: Values of the configuration that a control may change.
        optimizer_states: States to start the two optimizers from; set by `transfer`.
        arch_batch: The last batch of the arch stream.
        rollback: Set by a control: where to go back to at the end of this epoch.
        in_epoch: Whether an epoch has begun and not ended.
    """

    searches = True
    lr_keys = "search.weights.lr or search.arch.lr"

    def __init__(
        self,
        space: SearchSpace,
        supernet: torch.nn.Module,
        relaxation: Relaxation,
        hypergradient: Hypergradient,
        perturbation: Perturbation,
        regularizers: Mapping[str, Regularizer],
        selector: Selector,
        objective: Objective,
        settings: SearchConfig,
        seed: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.space = space
        self.supernet = supernet
        self.relaxation = relaxation
        self.hypergradient = hypergradient
        self.perturbation = perturbation
        self.regularizers = dict(regularizers)
        self.selector = selector
        self.objective = objective
        self.settings = settings
        self.seed = seed
        self.arch: Tensors = relaxation.init(space.choices, draws.seeded_generator(seed, "architecture"))
        self.decisions = Decisions(space.choices)
        self.progress = Progress(last_epoch=settings.epochs)
        self.values = AdjustableValues(settings.weights.weight_decay, self.regularizers)
        self.optimizer_states: list[dict[str, Any]] | None = None
        self.arch_batch: Batch | None = None
        self.rollback: Rollback | None = None
        self.train_metric = objective.new_metric()
        self.val_metric = objective.new_metric()
        # Metrics of our own: what Lightning sums up itself is in no checkpoint. It would also look for NaN.
        self.train_loss = MeanMetric(nan_strategy="disable")
        self.arch_loss = MeanMetric(nan_strategy="disable")
        self.in_epoch = False
        self._finite = FiniteLoss()
        self._batch_idx = 0

    # What a step is made of -----------------------------------------------------------------------------------

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """SGD for the weights, Adam (coupled L2, as published) for the architecture parameters."""
        weights, arch = self.settings.weights, self.settings.arch
        self.arch = {name: a.detach().to(self.device).requires_grad_() for name, a in self.arch.items()}
        sgd = torch.optim.SGD(
            self.supernet.parameters(),
            lr=weights.lr,
            momentum=weights.momentum,
            weight_decay=weights.weight_decay,
            nesterov=weights.nesterov,
        )
        adam = torch.optim.Adam(list(self.arch.values()), lr=arch.lr, betas=arch.betas, weight_decay=arch.weight_decay)
        if self.optimizer_states is not None:
            for optimizer, state in zip((sgd, adam), self.optimizer_states, strict=True):
                # The moments go on; rates and decay are this stage's own.
                optimizer.load_state_dict({**optimizer.state_dict(), "state": state["state"]})
            self.optimizer_states = None
        return [sgd, adam]

    def _optimizers(self) -> list[Any]:
        """Of the weights and of the architecture parameters, as Lightning wants them stepped."""
        return self.optimizers()  # type: ignore[return-value]

    @property
    def phase(self) -> str:  # type: ignore[override]
        """`search`, or `selection` in the stage of a selector that trains."""
        return self.progress.phase

    @property
    def row_epoch(self) -> int:
        """The epoch of a row of the tables: stages and attempts count on."""
        return self.trainer.current_epoch + self.progress.epoch_offset

    @property
    def search_epoch(self) -> int:
        """The position on all schedules; a rollback rewinds it."""
        return self.progress.search_epoch

    @property
    def attempt(self) -> int:
        """How often the search was rolled back."""
        return self.progress.attempt

    @property
    def num_steps(self) -> int:  # type: ignore[override]
        """Weight steps taken: they key the draws."""
        return self.progress.num_steps

    @property
    def epsilon(self) -> float:
        """The strength of the perturbation in this epoch."""
        progress = self.progress
        epoch = progress.search_epoch if progress.phase == "search" else progress.first_epoch
        return self.perturbation.epsilon(epoch, self.settings.epochs)

    @property
    def learns_arch(self) -> bool:
        """Whether the architecture parameters learn in this epoch."""
        warm = self.progress.search_epoch - self.progress.first_epoch >= self.settings.arch.warmup_epochs
        return self.hypergradient.learns and warm

    def settle(self, decisions: Mapping[str, Any] | None = None) -> None:
        """Tell the relaxation what was decided, after taking over such a state if one is given."""
        if decisions is not None:
            self.decisions.load_state_dict(decisions)
        self.relaxation.restrict(self.decisions.restriction)

    def mixing(self, arch: Tensors, pass_name: str) -> tuple[Mixing, Active | None]:
        """Return mixing weights and active options of one pass: equal passes of a step draw the same numbers."""
        # Drawn on the CPU: the same numbers on every device.
        rng = draws.seeded_generator(self.seed, self.num_steps, pass_name, "mixing")
        relax = self.relaxation.in_weight_step if pass_name == "weights" else self.relaxation
        return self._decided(relax(arch, self.progress.position, rng))

    def mean(self, arch: Tensors | None = None) -> Mixing:
        """Return the deterministic mixing weights, with what is decided, each [R, O]."""
        return self.at_mean(arch)[0]

    def at_mean(self, arch: Tensors | None = None) -> tuple[Mixing, Active | None]:
        """Return mixing weights and active options of a pass at the mean: validation, curvature, selection."""
        return self._decided(self.relaxation.mean(self.arch if arch is None else arch))

    def _decided(self, mixing: Mixing) -> tuple[Mixing, Active | None]:
        return self.decisions.fixed(mixing), self.decisions.active(self.relaxation.active(mixing))

    def loss_of(self, batch: Batch, pass_name: str, penalty: bool = False) -> Loss:
        """The loss of a batch as a pure function of weights and architecture parameters."""
        images, targets = batch

        def loss(weights: Tensors, arch: Tensors) -> Tensor:
            mixing, active = self.mixing(arch, pass_name)
            with draws.keyed(self.seed, self.num_steps, pass_name, self.global_rank):
                outputs = functional_call(self.supernet, weights, (images, mixing, active))
            value = self.objective.loss(outputs, targets)
            extra = self.relaxation.penalty(arch) if penalty else None
            return value if extra is None else value + extra

        return loss

    def reduce(self, tensors: list[Tensor]) -> list[Tensor]:
        """Average over the processes of a distributed run."""
        return ranks.averaged(tensors)

    def inner_step(self) -> SGDStep:
        """The step that the weight optimizer is about to take, without clipping."""
        optimizer = self.optimizers(use_pl_optimizer=False)[0]  # type: ignore[index]
        group = optimizer.param_groups[0]
        buffers = [optimizer.state.get(p, {}).get("momentum_buffer") for p in group["params"]]
        return SGDStep(group["lr"], group["momentum"], group["weight_decay"], buffers, group["nesterov"])

    def arch_step(self, train_batch: Batch, arch_batch: Batch) -> None:
        """One Adam step on the architecture parameters; weights and buffers stay as they were."""
        _, optimizer = self._optimizers()
        # A difference of radius 0.01 vanishes in bfloat16 and suffers in TF32, so second order leaves both.
        second_order = self.hypergradient.second_order
        full = full_precision(self.device.type) if second_order else nullcontext()
        local = ranks.local_normalisation(self.supernet) if second_order else nullcontext()
        with frozen_batch_stats(self.supernet), full, local:
            problem = Bilevel(
                self.loss_of(train_batch, "inner"),
                self.loss_of(arch_batch, "outer", penalty=True),
                dict(self.supernet.named_parameters()),
                self.arch,
                self.inner_step(),
                self.reduce,
            )
            found, loss = self.hypergradient(problem)
        self._finite.watch(loss)
        self._finite.check(self, "arch", "arch", self._batch_idx)
        for name, a in self.arch.items():
            a.grad = found[name]
        plain = self.optimizers(use_pl_optimizer=False)[1]  # type: ignore[index]
        with held_entries(plain, {self.arch[name]: held for name, held in self.decisions.held.items()}):
            optimizer.step()
        optimizer.zero_grad()
        self.arch_loss.update(loss.detach(), len(arch_batch[0]))
        self.log("arch_loss", self.arch_loss, on_step=False, on_epoch=True, batch_size=len(arch_batch[0]))

    def weight_step(self, batch: Batch) -> None:
        """One SGD step on the weights under fixed, possibly perturbed mixing weights."""
        optimizer, _ = self._optimizers()
        images, targets = batch
        mixing, active = self.mixing({name: a.detach() for name, a in self.arch.items()}, "weights")

        frozen = {name: weight.detach() for name, weight in self.supernet.named_parameters()}

        def loss_of_mixing(candidate: Mixing) -> Tensor:
            scope = draws.keyed(self.seed, self.num_steps, "weights", self.global_rank)
            mode = evaluating if self.perturbation.bn_mode == "eval" else frozen_batch_stats
            with scope, mode(self.supernet):
                outputs = functional_call(self.supernet, frozen, (images, candidate, active))
            return self.objective.loss(outputs, targets)

        rng = draws.seeded_generator(self.seed, self.num_steps, "perturbation")  # the same on all devices
        choices = self.decisions.narrowed(self.space.choices)
        perturbed = self.perturbation(mixing, loss_of_mixing, choices, self.epsilon, rng, self.reduce)
        mixing = self.decisions.fixed(perturbed)

        with draws.keyed(self.seed, self.num_steps, "weights", self.global_rank):
            outputs = self.supernet(images, mixing, active)
        loss = self.objective.loss(outputs, targets)
        self._finite.watch(loss)
        self.manual_backward(loss)
        trained = [weight for weight in self.supernet.parameters() if weight.grad is not None]  # alike in all processes
        for weight, grad in zip(trained, self.reduce([weight.grad for weight in trained]), strict=True):  # type: ignore[misc]
            weight.grad = grad
        self._finite.check(self, "train", "train", self._batch_idx)
        optimizer.step()
        optimizer.zero_grad()  # at once: gradients of the weights need no memory during the architecture step
        self.train_metric.update(outputs.detach(), targets)
        self.train_loss.update(loss.detach(), len(images))
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True, batch_size=len(images))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip here, after any unscaling, and by optimizer: the norm is over the weights alone."""
        weights, _ = self.optimizers(use_pl_optimizer=False)  # type: ignore[misc]
        clip = self.settings.weights.clip if optimizer is weights else self.settings.arch.clip
        if clip is not None:
            self.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")

    # The loop -------------------------------------------------------------------------------------------------

    @property
    def running(self) -> dict[str, Any]:
        """What is summed up in an epoch."""
        return {"train_metric": self.train_metric, "train_loss": self.train_loss, "arch_loss": self.arch_loss}

    def on_train_start(self) -> None:
        """Where training goes on between two batches, the epoch has no start: schedules are set here."""
        if self.in_epoch:
            self._follow_schedules()

    def on_train_epoch_start(self) -> None:
        """Set every schedule from the absolute search epoch."""
        self.in_epoch = True
        self._follow_schedules()

    def _follow_schedules(self) -> None:
        first = self.progress.first_epoch
        lr = self.learning_rate(self.search_epoch)
        if self.settings.weights.restart and first > 0:
            weights = self.settings.weights
            lr = restarted(lr, self.learning_rate(first), weights.lr, weights.lr_min)
        for group in self.optimizers(use_pl_optimizer=False)[0].param_groups:  # type: ignore[index]
            group["lr"] = lr
            group["weight_decay"] = self.values.weight_decay
        for part in self.regularizers.values():
            part.at_epoch(self.progress.position)
        self.curvature = None
        self.log("lr", lr, sync_dist=True)

    def learning_rate(self, epoch: int) -> float:
        """What the schedule of the weights says of a search epoch."""
        weights = self.settings.weights
        return learning_rate(
            weights.schedule, epoch, self.settings.epochs, weights.lr, weights.lr_min, weights.warmup_epochs
        )

    def training_step(self, batch: Mapping[str, Batch], batch_idx: int) -> None:
        """An architecture step and a weight step, in the order that `search.order` names."""
        batch = {stream: self.seen(images, stream) for stream, images in batch.items()}
        self.arch_batch = batch["arch"]
        self._batch_idx = batch_idx
        learns_arch = self.learns_arch
        if learns_arch and self.settings.order == "arch_first":
            self.arch_step(batch["train"], batch["arch"])
        self.weight_step(batch["train"])
        if learns_arch and self.settings.order == "weights_first":
            self.arch_step(batch["train"], batch["arch"])
        self.progress.num_steps += 1
        if self.trainer.is_last_batch:  # what validation, selection and the checkpoint see is the same in all processes
            ranks.average_statistics(self.supernet)

    def seen(self, batch: Batch, stream: str) -> Batch:
        """A batch as the regularizers alter it, once: every pass of a step sees the same images."""
        images, targets = batch
        with draws.keyed(self.seed, self.num_steps, f"images {stream}", self.global_rank):
            for part in self.regularizers.values():
                images = part.on_images(images)
        return images, targets

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The one-shot model on `val`: mean mixing weights, running statistics.

        Where `val` is augmented, regularizers see its images too: the accuracies of RobustDARTS are on cut-out images.
        """
        if self.trainer.datamodule.val_is_augmented:  # type: ignore[attr-defined]
            batch = self.seen(batch, f"val {batch_idx}")
        images, targets = batch
        mixing, active = self.at_mean()
        with draws.keyed(self.seed, self.num_steps, f"val {batch_idx}", self.global_rank):
            outputs = self.supernet(images, mixing, active)
        self.val_metric.update(outputs, targets)
        self.log("val_loss", self.objective.loss(outputs, targets), batch_size=len(images), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log the metric of `val` in its unit."""
        self.log("val_accuracy", 100 * self.val_metric.compute(), sync_dist=True)
        self.val_metric.reset()

    def on_train_epoch_end(self) -> None:
        """Advance the search epoch, or go back where a control has asked for it; end the search after the last one.

        Ordinary callbacks ran before this and saw the epoch that ended; the checkpoint is written after it.
        """
        self.in_epoch = False
        if self.rollback is None:
            self.progress.search_epoch += 1
        else:
            self.settle(restore_epoch(self.trainer, self.arch, self.rollback.epoch)["decisions"])
            self.progress.go_back(self.rollback)
            for key, value in self.rollback.changes.items():
                self.change(key, value)
            self.rollback = None
        if self.progress.ended:
            self.trainer.should_stop = True

    def epoch_metrics(self) -> dict[str, float]:
        """Return metrics of the epoch besides the logged ones, and begin to sum up the next."""
        value = {"train_accuracy": 100 * float(self.train_metric.compute())}
        self.train_metric.reset()
        return value | metrics_of(self)

    def genotype(self) -> Genotype | None:
        """Return the genotype of the current architecture parameters, where they alone determine one."""
        return self.selector(self.space, self.decisions.fixed(self.relaxation.strengths(self.arch)))

    # State ----------------------------------------------------------------------------------------------------

    def change(self, key: str, value: float) -> None:
        """Give a value of the configuration another value from the next epoch on; the checkpoint remembers it."""
        self.values.change(key, value)
        self.progress.changed[key] = value

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what lives outside the module's own state: plain tensors and numbers only."""
        checkpoint["search"] = {
            **self.progress.state_dict(),
            "arch": {name: a.detach().cpu() for name, a in self.arch.items()},
            "decisions": self.decisions.state_dict(),
            "running": state_of_metrics(self.running) if self.in_epoch else {},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore it; Lightning builds the optimizers afterwards.

        Raises:
            ConfigError: A state between two batches of one process, for several.
        """
        state = checkpoint["search"]
        if state["running"] and self.trainer.world_size > 1:
            raise ConfigError(
                f"trainer.devices: the last state is one between two batches of one process, not of"
                f" {self.trainer.world_size}; resume it with trainer.devices=1"
            )
        self.arch = {name: a.clone() for name, a in state["arch"].items()}
        # Stage and phase are those that the module was built for: an analysis trains on in a stage of its own.
        self.progress = replace(
            Progress.from_state(state), stage=self.progress.stage, phase=self.progress.phase, changed={}
        )
        self.settle(state["decisions"])
        for key, value in state["changed"].items():
            self.change(key, value)
        restore_metrics(self.running, state["running"])
        self.in_epoch = bool(state["running"])
