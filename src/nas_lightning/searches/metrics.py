"""Metrics of a search at the end of an epoch, besides losses and accuracies."""

from typing import Any

import torch


def metrics_of(module: Any) -> dict[str, float]:
    """Return the columns of metrics.csv that describe mixing weights and schedules.

    Args:
        module: The search module.

    Returns:
        Entropy of the mixing weights in nats and the mean weight of skip_connect on the edges that offer it, by choice;
        learning rate of the architecture, weight decay, strength of the perturbation where it is not 0; the metrics of
        regularizers and of the relaxation.
    """
    value: dict[str, float] = {}
    for name, weights in module.mean().items():
        value[f"entropy/{name}"] = float(torch.special.entr(weights.detach()).sum(dim=1).mean())
        skips = module.space.choices[name].where("skip_connect")
        if skips.any():
            value[f"skip_share/{name}"] = float(weights.detach().cpu()[skips].mean())
    value["arch_lr"] = module.settings.arch.lr if module.learns_arch else 0.0
    value["weight_decay"] = module.values.weight_decay
    for part in module.regularizers.values():
        value |= part.metrics()
    value |= module.relaxation.metrics(module.progress.position)
    if module.epsilon > 0:
        value["epsilon"] = module.epsilon
    return value
