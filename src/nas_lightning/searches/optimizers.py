"""The two optimizers of a search, the learning rate of the weights, and the virtual step of an unrolled gradient."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from nas_lightning.config.sections import SearchConfig
from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.decisions import Decisions
from nas_lightning.core.schedules import learning_rate, restarted
from nas_lightning.hypergradients import SGDStep
from nas_lightning.searches.exponentiated_gradient import ExponentiatedGradient


def build_optimizers(
    supernet: torch.nn.Module,
    arch: Tensors,
    settings: SearchConfig,
    decisions: Decisions,
    states: Sequence[dict[str, Any]] | None = None,
) -> list[torch.optim.Optimizer]:
    """Build the optimizers of the weights and of the architecture parameters: as published SGD, and Adam (coupled L2).

    Args:
        supernet: Owns the weights.
        arch: Architecture parameters by choice, each [R, O].
        settings: The `search` section of the configuration.
        decisions: What is decided at each step.
        states: States to start from, that of the weights first; None starts without moments.
    """
    weights = settings.weights
    descent: torch.optim.Optimizer
    if weights.optimizer == "adam":
        descent = torch.optim.Adam(supernet.parameters(), lr=weights.lr, weight_decay=weights.weight_decay)
    else:
        descent = torch.optim.SGD(
            supernet.parameters(),
            lr=weights.lr,
            momentum=weights.momentum,
            weight_decay=weights.weight_decay,
            nesterov=weights.nesterov,
        )
    rates = settings.arch
    of_arch: torch.optim.Optimizer
    if rates.optimizer == "exponentiated_gradient":
        of_arch = ExponentiatedGradient(arch, rates.lr, decisions)
    else:
        of_arch = torch.optim.Adam(list(arch.values()), lr=rates.lr, betas=rates.betas, weight_decay=rates.weight_decay)
    if states is not None:
        for optimizer, state in zip((descent, of_arch), states, strict=True):
            # Moments carry over from the stage before; rates and decay are this stage's own.
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state["state"]})
    return [descent, of_arch]


def inner_step_of(weights: torch.optim.Optimizer, held: Iterable[Tensor] = ()) -> SGDStep:
    """Return the step that the weight optimizer is about to take, without clipping.

    Of Adam it is a plain step at its rate, which no gradient of second order may unroll; see `searches.check`.

    Args:
        weights: The optimizer of the weights.
        held: Weights that it leaves as they are; the step is one of the others.
    """
    group = weights.param_groups[0]
    left = set(map(id, held))
    stepping = [weight for weight in group["params"] if id(weight) not in left]
    buffers = [weights.state.get(weight, {}).get("momentum_buffer") for weight in stepping]
    momentum, nesterov = group.get("momentum", 0.0), group.get("nesterov", False)
    return SGDStep(group["lr"], momentum, group["weight_decay"], buffers, nesterov)


def weights_learning_rate(settings: SearchConfig, epoch: int, first_epoch: int) -> float:
    """Return the learning rate of the weights.

    Args:
        settings: The `search` section of the configuration.
        epoch: The search epoch, counted from the last fresh stage: rates depend on nothing else, so a resume or a
            rollback repeats them.
        first_epoch: Such an epoch, at which the stage starts: `search.weights.restart` begins there at the full rate.
    """
    weights = settings.weights

    def scheduled(at: int) -> float:
        return learning_rate(weights.schedule, at, settings.epochs, weights.lr, weights.lr_min, weights.warmup_epochs)

    if weights.restart and first_epoch > 0:
        return restarted(scheduled(epoch), scheduled(first_epoch), weights.lr, weights.lr_min)
    return scheduled(epoch)
