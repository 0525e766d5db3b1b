"""One step of the bilevel search: an architecture step on the outer problem, a weight step on the inner one.

Gradients are computed only for what a step updates. What happens around the steps is in `module`.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from nas_lightning.callbacks.phase_module import PhaseModule
from nas_lightning.capture.policy import Setting
from nas_lightning.config.sections import SearchConfig
from nas_lightning.core import draws, ranks
from nas_lightning.core.batches import Batch, Streams, detached
from nas_lightning.core.bilevel import Bilevel, Hypergradient, Loss, Tensors
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.decisions import Decisions, held_entries
from nas_lightning.core.functional import evaluating, frozen_batch_stats, full_precision, without_autocast
from nas_lightning.core.objective import Objective
from nas_lightning.core.perturbation import Perturbation
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.relaxation import Relaxation
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace
from nas_lightning.hypergradients import SGDStep
from nas_lightning.searches.adjustable import AdjustableValues
from nas_lightning.searches.optimizers import build_optimizers, inner_step_of
from nas_lightning.searches.passes import SupernetPasses
from nas_lightning.searches.progress import Progress
from nas_lightning.training.finite import FiniteLoss
from nas_lightning.training.metrics import MeanLoss


class BilevelModule(PhaseModule):
    """The parts of a search and the two steps that they define; `SearchModule` adds the loop.

    Args:
        space: The search space.
        supernet: The supernet of that space.
        relaxation: Architecture parameters → mixing weights.
        hypergradient: Estimator of the outer gradient.
        perturbation: Acts on the mixing weights of the weight step.
        regularizers: Parts inside the supernet, by their names.
        selector: Derives the genotype of every epoch.
        objective: Loss and metric.
        settings: The `search` section of the configuration.
        seed: The run's seed; all draws are keyed by it.
        graph: Whether passes of the supernet are captured as CUDA graphs.

    Attributes:
        arch: Architecture parameters by choice, each [R, O]. They are plain tensors, not parameters of the module:
            no weight list, clipping norm, parameter count or DDP wrapper ever sees them.
        decisions: The decisions made so far: which options and edges are settled.
        passes: Computes the forward passes of the supernet.
        progress: Position in the search.
        values: Values of the configuration that a control may change.
        built: Options that the supernet has, boolean [R, O] by choice; empty where it has all of the space.
        held: Weights of the supernet that no step moves any more, by name; see `hold`.
        streams: States that the networks carry from one batch to the next; those of images carry none.
        optimizer_states: States to start the two optimizers from; set by `transfer`.
    """

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
        graph: Setting = "off",
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
        self.goal = objective.goal
        self.settings = settings
        self.seed = seed
        self.arch: Tensors = relaxation.init(space.choices, draws.seeded_generator(seed, "architecture"))
        self.decisions = Decisions(space.choices)
        self.passes = SupernetPasses(supernet, tuple(regularizers.values()), lambda: self.decisions.active(), graph)
        if settings.recompute:
            self.passes.policy.refuse("search.recompute=true calls cells in backward passes")
        self.progress = Progress(last_epoch=settings.epochs)
        self.streams = Streams()
        self.built: dict[str, Tensor] = {}
        self.held: dict[str, torch.nn.Parameter] = {}
        self.values = AdjustableValues(settings.weights.weight_decay, self.regularizers)
        self.optimizer_states: list[dict[str, Any]] | None = None
        self.train_metric = objective.new_metric()
        self.val_metric = objective.new_metric()
        # Metrics of our own: Lightning's running means enter no checkpoint, so a state between two batches would lose
        # them.
        self.train_loss = MeanLoss()
        self.arch_loss = MeanLoss()
        self._finite = FiniteLoss()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Build SGD for the weights and the optimizer of the architecture parameters."""
        # Before the optimizer is built, which holds these very tensors: they follow the module to its device by hand.
        self.arch = {name: a.detach().to(self.device).requires_grad_() for name, a in self.arch.items()}
        optimizers = build_optimizers(self.supernet, self.arch, self.settings, self.decisions, self.optimizer_states)
        self.optimizer_states = None
        return optimizers

    def plain_optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        """Return torch's own optimizers, of the weights and of the architecture parameters, to read or change."""
        plain: Any = self.optimizers(use_pl_optimizer=False)
        weights, arch = plain
        return weights, arch

    def _stepping_optimizers(self) -> list[Any]:
        """Return the same two as Lightning wraps them: stepping those counts and applies precision plugins."""
        wrapped: Any = self.optimizers()
        return wrapped

    @property
    def phase(self) -> str:  # type: ignore[override]
        """`search`, or `selection` in the stage of a selector that trains."""
        return self.progress.phase

    @property
    def search_epoch(self) -> int:
        """The position on all schedules; a rollback rewinds it."""
        return self.progress.search_epoch

    @property
    def first_epoch(self) -> int:
        """The search epoch at which the stage begins."""
        return self.progress.first_epoch

    @property
    def num_steps(self) -> int:  # type: ignore[override]
        """Weight steps taken. They key the draws, and a rollback does not rewind them: its draws are new ones."""
        return self.progress.num_steps

    @property
    def epsilon(self) -> float:
        """The strength of the perturbation in this epoch."""
        progress = self.progress
        epoch = progress.search_epoch if progress.phase == "search" else progress.first_epoch
        return self.perturbation.epsilon(epoch - progress.schedule_start, self.settings.epochs)

    @property
    def learns_arch(self) -> bool:
        """True when the architecture parameters are trained in this epoch: never in the warm-up of a stage."""
        warm = self.progress.search_epoch - self.progress.first_epoch >= self.settings.arch.warmup_epochs
        return self.hypergradient.learns and warm

    @property
    def steps_arch(self) -> bool:
        """True when this step has an architecture step: in each `search.arch.interval` steps it is the last."""
        interval = self.settings.arch.interval
        return self.learns_arch and self.num_steps % interval == interval - 1

    def settle(self, decisions: Mapping[str, Any] | None = None) -> None:
        """Restrict the relaxation to what is still undecided, after every change of the decisions.

        Args:
            decisions: A saved state to load first; None keeps the present decisions.
        """
        if decisions is not None:
            self.decisions.load_state_dict(decisions)
        self.relaxation.restrict(self.decisions.restriction)

    def hold(self, weights: Mapping[str, torch.nn.Parameter]) -> None:
        """Leave weights of the supernet, by name, as they are from now on: no gradient, no momentum, no decay.

        The virtual step of a second-order gradient leaves them, too. Nothing is saved: who holds them does so again.
        """
        self.held.update(weights)
        self._release_held()

    def _release_held(self) -> None:
        for weight in self.held.values():
            weight.grad = None  # an optimizer leaves such a weight alone

    def mixing(self, arch: Tensors, pass_name: str) -> tuple[Mixing, Active | None]:
        """Return mixing weights and active options of one forward pass.

        Args:
            arch: Architecture parameters by choice, each [R, O].
            pass_name: `weights`, `inner` or `outer`; it keys the draws together with the seed and the step, so
                repeated evaluations of one loss (finite differences, Hessian products) draw the same numbers.
        """
        # Drawn on the CPU, so that a seed gives the same architecture draws on every device.
        rng = draws.seeded_generator(self.seed, self.num_steps, pass_name, "mixing")
        relax = self.relaxation.in_weight_step if pass_name == "weights" else self.relaxation
        return self._decided(relax(arch, self.progress.position, rng))

    def mean(self, arch: Tensors | None = None) -> Mixing:
        """Return the deterministic mixing weights by choice, each [R, O]; decided rows are one-hot."""
        return self.at_mean(arch)[0]

    def at_mean(self, arch: Tensors | None = None) -> tuple[Mixing, Active | None]:
        """Return mixing weights and active options of a pass at the mean: validation, curvature, selection."""
        return self._decided(self.relaxation.mean(self.arch if arch is None else arch))

    def _decided(self, mixing: Mixing) -> tuple[Mixing, Active | None]:
        return self.decisions.fixed(mixing), self.decisions.active(self.relaxation.active(mixing))

    def loss_of(
        self, batch: Batch, pass_name: str, penalty: bool = False, frozen: bool = True, stream: str | None = None
    ) -> Loss:
        """Return the loss of a batch as a function of weights and architecture parameters.

        Args:
            batch: Inputs and targets.
            pass_name: Keys its draws, as for `mixing`.
            penalty: Add the terms of the relaxation and of the regularizers, where they have any.
            frozen: Leave running statistics as they are, so that the function is pure.
            stream: The stream that continues after this batch, from the state that its last call ends with; None keeps
                no state.
        """
        inputs, targets = batch

        def loss(weights: Tensors, arch: Tensors) -> Tensor:
            mixing, active = self.mixing(arch, pass_name)
            weights = {name: weight.detach() for name, weight in self.held.items()} | weights
            statistics = frozen_batch_stats(self.supernet) if frozen else nullcontext()
            with statistics, draws.keyed(self.seed, self.num_steps, pass_name, self.global_rank):
                outputs = self.passes(inputs, mixing, active, weights)
            if stream is not None:
                self.streams.after(stream, outputs)
            value = self.objective.loss(outputs, targets)
            for extra in self._penalties(arch, mixing) if penalty else ():
                value = value + extra
            return value

        return loss

    def _penalties(self, arch: Tensors, mixing: Mixing) -> list[Tensor]:
        """Return the terms that parts add to the architecture loss, scalars."""
        kept = self.decisions.restriction if self.regularizers else {}
        own = [
            part.penalty(arch, self.mean(arch) if part.at_mean else mixing, kept) for part in self.regularizers.values()
        ]
        return [term for term in (self.relaxation.penalty(arch), *own) if term is not None]

    def reduce(self, tensors: list[Tensor]) -> list[Tensor]:
        """Average over the processes of a distributed run."""
        return ranks.averaged(tensors)

    def inner_step(self) -> SGDStep:
        """Return the step that the weight optimizer is about to take, without clipping."""
        return inner_step_of(self.plain_optimizers()[0], self.held.values())

    def problem_of(self, train_batch: Batch, arch_batch: Batch, inner_step: SGDStep) -> Bilevel:
        """Return the bilevel problem of two batches."""
        frozen = self.settings.arch.batch_norm == "frozen"
        return Bilevel(
            self.loss_of(train_batch, "inner", frozen=frozen),
            self.loss_of(arch_batch, "outer", True, frozen or self.hypergradient.second_order, stream="arch"),
            {name: weight for name, weight in self.supernet.named_parameters() if name not in self.held},
            self.arch,
            inner_step,
            self.reduce,
        )

    def arch_step(self, train_batch: Batch, arch_batch: Batch, batch_idx: int) -> None:
        """Take one step on the architecture parameters; weights stay as they were.

        So do running statistics, unless `search.arch.batch_norm` is `moving`: then each pass at the weights moves them,
        as in released code, where the virtual weights of a second-order step belong to a copy of the network.

        Args:
            train_batch: Batch of the inner loss, which the virtual step descends.
            arch_batch: Batch of the outer loss.
            batch_idx: Index of the batch in the epoch.

        Raises:
            NonFiniteError: The outer loss is NaN or infinite; no parameter has changed.
        """
        # A finite difference moves the weights by 0.01 in norm, which vanishes in bfloat16 and suffers in TF32, so
        # second order leaves both. SyncBatchNorm has no second derivative, so processes normalise by their own images.
        second_order = self.hypergradient.second_order
        full = full_precision(self.device.type) if second_order else nullcontext()
        local = ranks.local_normalisation(self.supernet) if second_order else nullcontext()
        with full, local:
            found, loss = self.hypergradient(self.problem_of(train_batch, arch_batch, self.inner_step()))
        self._finite.watch(loss)
        self._finite.check(self, "arch", "arch", batch_idx)
        self._step_arch(found, loss.detach(), self.objective.weight(arch_batch[1]))

    def _step_arch(self, found: Tensors, loss: Tensor, weight: int) -> None:
        """Step the architecture parameters along gradients by choice, each [R, O], and log the loss with its weight."""
        _, optimizer = self._stepping_optimizers()
        for name, a in self.arch.items():
            a.grad = found[name]
        # A zero gradient would not do for decided entries: Adam's moments and weight decay would still move them.
        _, plain = self.plain_optimizers()
        before = {name: a.detach().clone() for name, a in self.arch.items()}
        with held_entries(plain, {self.arch[name]: held for name, held in self.decisions.held.items()}):
            optimizer.step()
            with torch.no_grad():
                self.relaxation.after_step(before, self.arch)
        optimizer.zero_grad()
        self.arch_loss.update(loss, weight)
        self.log("arch_loss", self.arch_loss, on_step=False, on_epoch=True, batch_size=weight)

    def weight_step(self, batch: Batch, batch_idx: int, joint: bool = False) -> None:
        """Take one SGD step on the weights under fixed, possibly perturbed mixing weights.

        Args:
            batch: Inputs and targets.
            batch_idx: Index of the batch in the epoch.
            joint: Take a step on the architecture parameters, too, from the same backward pass.

        Raises:
            NonFiniteError: The loss is NaN or infinite; no weight has changed.
        """
        optimizer, _ = self._stepping_optimizers()
        targets = batch[1]
        outputs, mixing = self.weight_outputs(batch, joint)
        self.streams.after("train", outputs)
        loss = self.objective.training_loss(outputs, targets)
        whole = loss
        for extra in self._penalties(self.arch, mixing) if joint else ():
            whole = whole + extra
        self._finite.watch(whole)  # before the backward pass, which runs on the GPU while the flag is copied
        with without_autocast(self.device.type):
            self.manual_backward(whole)
        self.passes.release()
        self._release_held()
        # Processes draw the same paths, so the same weights have gradients in each: the averages pair up.
        trained = [weight for weight in self.supernet.parameters() if weight.grad is not None]
        for weight, grad in zip(trained, self.reduce([weight.grad for weight in trained]), strict=True):  # type: ignore[misc]
            weight.grad = grad
        self._finite.check(self, "train", "train", batch_idx)
        optimizer.step()
        optimizer.zero_grad()  # now, to free the gradients of the weights before the architecture step
        count = self.objective.weight(targets)
        if joint:
            of_arch = [torch.zeros_like(a) if a.grad is None else a.grad for a in self.arch.values()]
            self._step_arch(dict(zip(self.arch, self.reduce(of_arch), strict=True)), whole.detach(), count)
        self.train_metric.update(detached(outputs), targets)
        self.train_loss.update(loss.detach(), count)
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True, batch_size=count)

    def weight_outputs(self, batch: Batch, joint: bool = False) -> tuple[Any, Mixing]:
        """Return outputs and mixing weights of the weight step, which are fixed and may be perturbed.

        They depend on the architecture parameters if the step is a joint one.
        """
        inputs, targets = batch
        arch = self.arch if joint else {name: a.detach() for name, a in self.arch.items()}
        mixing, active = self.mixing(arch, "weights")

        def loss_of_mixing(candidate: Mixing) -> Tensor:
            # The key of the training pass below: the perturbation attacks the very noise that the weights will see.
            scope = draws.keyed(self.seed, self.num_steps, "weights", self.global_rank)
            mode = evaluating if self.perturbation.bn_mode == "eval" else frozen_batch_stats
            with scope, mode(self.supernet):
                # The perturbation differentiates with respect to the mixing weights alone.
                outputs = self.passes(inputs, candidate, active, frozen=True)
            return self.objective.loss(outputs, targets)

        rng = draws.seeded_generator(self.seed, self.num_steps, "perturbation")  # the same on all devices
        choices = self.decisions.narrowed(self.space.choices)
        perturbed = self.perturbation(mixing, loss_of_mixing, choices, self.epsilon, rng, self.reduce)
        mixing = self.decisions.fixed(perturbed)  # a perturbation must not move decided rows

        with draws.keyed(self.seed, self.num_steps, "weights", self.global_rank):
            return self.passes(inputs, mixing, active), mixing

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip after any unscaling, by optimizer: the norm of the weights' gradients is over the weights alone."""
        weights, _ = self.plain_optimizers()
        clip = self.settings.weights.clip if optimizer is weights else self.settings.arch.clip
        if clip is not None:
            self.clip_gradients(optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")
