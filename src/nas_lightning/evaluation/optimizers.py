"""The optimizers of recipes of images, and which weights decay."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from nas_lightning.evaluation.rmsprop import RmsProp

FAST_DEVICES = ("cpu", "cuda")
"""Device types on which channels_last and fused optimizers are known to work and to be faster."""
Name = Literal["sgd", "rmsprop", "adamw"]
Decayed = Literal["all", "kernels"]
DEFAULTS: dict[Name, tuple[float, float]] = {"rmsprop": (0.9, 1e-3), "adamw": (0.999, 1e-8)}
"""ρ and ε where the recipe gives none: those of EfficientNet, and torch's."""


@dataclass(frozen=True)
class Rates:
    """Settings of an optimizer; see `evaluation.recipe.Recipe`."""

    lr: float
    momentum: float
    nesterov: bool
    rho: float | None
    epsilon: float | None
    weight_decay: float
    decayed: Decayed


def build_optimizer(name: Name, weights: Sequence[nn.Parameter], rates: Rates) -> torch.optim.Optimizer:
    """Build an optimizer of all weights, fused if their device supports it and torch has such a one.

    Args:
        name: Its name.
        weights: All weights, in the order of the network.
        rates: Its settings.
    """
    groups = groups_of(weights, rates.weight_decay, rates.decayed)
    fused = fused_on(weights)
    rho, eps = DEFAULTS.get(name, (0.0, 0.0))
    rho, eps = rho if rates.rho is None else rates.rho, eps if rates.epsilon is None else rates.epsilon
    if name == "rmsprop":
        return RmsProp(groups, rates.lr, rho, rates.momentum, eps, rates.weight_decay)
    if name == "adamw":
        return torch.optim.AdamW(groups, rates.lr, (rates.momentum, rho), eps, rates.weight_decay, fused=fused)
    return torch.optim.SGD(
        groups,
        lr=rates.lr,
        momentum=rates.momentum,
        weight_decay=rates.weight_decay,
        nesterov=rates.nesterov,
        fused=fused,
    )


def fused_on(weights: Sequence[nn.Parameter]) -> bool | None:
    """Return the argument `fused` of torch's optimizers: True where all weights lie on devices that gain by it."""
    return True if weights and all(weight.device.type in FAST_DEVICES for weight in weights) else None


def groups_of(weights: Sequence[nn.Parameter], weight_decay: float, decayed: Decayed) -> list[dict[str, Any]]:
    """Divide weights into those that decay and those that do not; without a difference there is one group.

    Args:
        weights: All weights.
        weight_decay: Coefficient of those that decay.
        decayed: `all`, or `kernels`: no decay of what has one axis or none, the biases, and scales and shifts of
            normalisations.
    """
    still = [weight for weight in weights if weight.dim() <= 1] if decayed == "kernels" and weight_decay else []
    if not still:
        return [{"params": list(weights)}]
    kept = [weight for weight in weights if weight.dim() > 1]
    return [
        *([{"params": kept, "weight_decay": weight_decay}] if kept else []),
        {"params": still, "weight_decay": 0.0},
    ]
