"""Early stopping of single operations: their weights stop once train and architecture gradients disagree (OLES).

Shapes: an operation has weights of any shapes; its gradients are lists of tensors of these shapes.
"""

import logging
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import lightning as L
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cosine_similarity

from nas_lightning.core import draws
from nas_lightning.core.batches import Batch
from nas_lightning.core.control import Control
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import frozen_batch_stats, without_autocast
from nas_lightning.spaces.weighted_operations import Place, weighted_operations

log = logging.getLogger(__name__)

Gradients = dict[Place, list[Tensor]]
"""Gradients of the weights of operations."""


class OperationStopping(Control, L.Callback):
    """Stops the weights of an operation in one edge of one cell when they begin to fit the train half alone.

    GM = (1/M)·Σ_m cos(∇_w L_train, ∇_w L_arch), over the weights w of the operation and M measurements. Where GM is
    below the threshold, w stays as it is to the bit, without decay and momentum, until the search ends; otherwise the
    next M measurements begin. The architecture goes on. Both gradients are taken before the weight step, L_arch on the
    batch of the architecture step and by a backward pass of its own. An operation that a pass does not compute is not
    measured by it. The stage of a selector trains all weights again, and a fresh stage begins with new ones.

    Source: Jiang et al., OLES (NeurIPS 2023), Algorithm 1. `released` is what its code measures instead: the train
    gradient g is that of the batch before, clipped, and stands against g + ∇_w L_arch, as the architecture step adds to
    gradients that are still there: with equal norms and a cosine c the number is (1 + c)/√(2 + 2c), so 0.4 takes
    c = −0.68; cosines are along the output channels of each tensor, then averaged; M + 1 of them are added up and
    divided by M. Left out: its weight decay of stopped weights (older PyTorch), and its genotype of the best epoch.

    Args:
        threshold: GM below which an operation stops.
        window: Measurements M.
        interval: Weight steps between two measurements.
        statistic: `paper` or `released`, as above.
    """

    decides = True
    key = "control.operation_stopping"

    def __init__(
        self,
        threshold: Annotated[float, Field(ge=-1, le=1)] = 0.4,
        window: Annotated[int, Field(ge=1)] = 20,
        interval: Annotated[int, Field(ge=1)] = 1,
        statistic: Literal["paper", "released"] = "paper",
    ) -> None:
        self.threshold = threshold
        self.window = window
        self.interval = interval
        self.statistic = statistic
        self.stopped: set[Place] = set()
        self.sums: dict[Place, tuple[float, int]] = {}
        self.before: Gradients = {}
        self._weights: dict[Place, dict[str, nn.Parameter]] = {}

    def check(self, module: Any, callbacks: Sequence[Any]) -> None:
        """Refuse a space without operations that have weights, and a search on one level.

        Raises:
            ConfigError: There is nothing to stop, or nothing to compare.
        """
        if module.settings.arch.images == "train":
            raise ConfigError(
                f"{self.key}: search.arch.images=train has one batch a step, whose gradients it would compare with"
                f" themselves; use search.arch.images=val or ~{self.key}"
            )
        if not weighted_operations(module.supernet):
            raise ConfigError(
                f"{self.key}: no operation of space={module.space.name} has weights, so it would do nothing; use"
                f" ~{self.key}"
            )

    def at_fresh_stage(self) -> None:
        """Forget the operations of the supernet before: those of the new one have learned nothing."""
        self.stopped, self.sums, self.before = set(), {}, {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Find the operations, and stop those again that a resumed search, or the stage before, had stopped."""
        names = {id(weight): name for name, weight in pl_module.supernet.named_parameters()}
        self._weights = {
            place: {names[id(weight)]: weight for weight in operation.parameters()}
            for place, operation in weighted_operations(pl_module.supernet).items()
        }
        for place in self.stopped:
            pl_module.hold(self._weights[place])

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        """Measure before a weight step, if it is due: the gradients of the train batch are there, not clipped yet."""
        weights, _ = pl_module.plain_optimizers()
        if optimizer is not weights or not pl_module.learns_arch:
            return
        step = pl_module.num_steps
        train = self._train_gradients()
        if step % self.interval == 0:
            self._measure(pl_module, self.before if self.statistic == "released" else train)
        if self.statistic == "released" and (step + 1) % self.interval == 0:
            scale = clipping_of(pl_module)
            self.before = {p: [scale * g for g in found] for p, found in train.items() if p not in self.stopped}

    def _train_gradients(self) -> Gradients:
        """Return the gradients of the operations that the pass has computed and that still learn."""
        found: Gradients = {}
        for place, weights in self._weights.items():
            gradients = [weight.grad for weight in weights.values() if weight.grad is not None]
            if place not in self.stopped and len(gradients) == len(weights):
                found[place] = gradients
        return found

    def _measure(self, module: Any, train: Gradients) -> None:
        """Add one measurement of each operation, and stop those whose mean over the window is too low."""
        train = {place: [g.to(module.device) for g in found] for place, found in train.items()}
        names = [name for place in train for name in self._weights[place]]
        arch = dict(zip(names, arch_gradients(module, module.arch_batch, names), strict=True)) if names else {}
        statistic = agreement if self.statistic == "paper" else released_agreement
        places, values = [], []
        for place, gradients in train.items():
            others = [g for g in (arch[name] for name in self._weights[place]) if g is not None]
            if len(others) == len(gradients):
                places.append(place)
                values.append(statistic(gradients, others))
        if not values:
            return
        needed = self.window if self.statistic == "paper" else self.window + 1
        for place, value in zip(places, torch.stack(values).tolist(), strict=True):  # one copy from the device
            total, count = self.sums.get(place, (0.0, 0))
            self.sums[place] = total + value, count + 1
            if count + 1 == needed:
                del self.sums[place]
                if (total + value) / self.window < self.threshold:
                    self.stopped.add(place)
                    module.hold(self._weights[place])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log how many operations have stopped, a column of metrics.csv."""
        pl_module.log("operations_stopped", float(len(self.stopped)), sync_dist=True)
        log.info("epoch %d: %d of %d operations stopped", pl_module.search_epoch, len(self.stopped), len(self._weights))

    def state_dict(self) -> dict[str, Any]:
        """Return the operations that have stopped, the sums of the others, and gradients that are still needed."""
        return {
            "stopped": [list(place) for place in sorted(self.stopped)],
            "sums": [[list(place), *sums] for place, sums in self.sums.items()],
            "before": [[list(place), gradients] for place, gradients in self.before.items()],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self.stopped = {Place(*place) for place in state_dict["stopped"]}
        self.sums = {Place(*place): (total, count) for place, total, count in state_dict["sums"]}
        self.before = {Place(*place): list(gradients) for place, gradients in state_dict["before"]}


def agreement(train: Sequence[Tensor], arch: Sequence[Tensor]) -> Tensor:
    """Return the cosine of two gradients over all weights of an operation, a scalar; 0 if one of them is 0."""
    one, other = (torch.cat([g.flatten() for g in gradients]) for gradients in (train, arch))
    tiny = torch.finfo(one.dtype).tiny
    return (one / one.norm().clamp_min(tiny)) @ (other / other.norm().clamp_min(tiny))


def released_agreement(train: Sequence[Tensor], arch: Sequence[Tensor]) -> Tensor:
    """Return what the released code of OLES compares, a scalar.

    Args:
        train: Train gradients of an operation, the output channels first.
        arch: Architecture gradients, of the same shapes.
    """
    cosines = [cosine_similarity(g + other, g, dim=0).mean() for g, other in zip(train, arch, strict=True)]
    return torch.stack(cosines).mean()


def arch_gradients(module: Any, batch: Batch, names: Sequence[str]) -> list[Tensor | None]:
    """Return gradients of the architecture batch's loss with respect to weights, averaged over processes.

    Args:
        module: The search module; running statistics stay as they are.
        batch: Inputs and targets.
        names: Names of the weights. Where the pass does not compute one, its gradient is None.
    """
    # Eager on purpose: the replay of a graph might write into the gradients of the weight step, which are still needed.
    weights = {name: weight.detach() for name, weight in module.supernet.named_parameters()}
    leaves = [weights[name].requires_grad_() for name in names]
    mixing, active = module.mixing({name: a.detach() for name, a in module.arch.items()}, "outer")
    scope = draws.keyed(module.seed, module.num_steps, "outer", module.global_rank)
    with scope, frozen_batch_stats(module.supernet):
        outputs = functional_call(module.supernet, weights, (batch[0], mixing, active))
    loss = module.objective.loss(outputs, batch[1])
    if not loss.requires_grad:  # a drawn path that holds none of these weights
        return [None] * len(leaves)
    with without_autocast(module.device.type):
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
    # Processes draw the same paths, so the same gradients are there in each.
    averaged = iter(module.reduce([g for g in found if g is not None]))
    return [None if g is None else next(averaged) for g in found]


def clipping_of(module: Any) -> Tensor | float:
    """Return the factor by which the gradients of the weight step are about to be clipped."""
    clip = module.settings.weights.clip
    if clip is None:
        return 1.0
    gradients = [weight.grad for weight in module.supernet.parameters() if weight.grad is not None]
    return (clip / (nn.utils.get_total_norm(gradients) + 1e-6)).clamp(max=1.0)
