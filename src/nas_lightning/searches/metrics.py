"""Metrics of a search at the end of an epoch, besides losses and accuracies."""

from typing import Any

import torch

from nas_lightning.searches.decidedness import decidedness


def metrics_of(module: Any) -> dict[str, float]:
    """Return the columns of metrics.csv that describe mixing weights and schedules.

    Args:
        module: The search module.

    Returns:
        Entropy of the mixing weights in nats and the mean weight of skip_connect on the edges that offer it, by choice;
        how decided they are, where the search learns them: `open_edges`, `margin`, `entropy_percent`; learning rate of
        the architecture, weight decay, strength of the perturbation where it is not 0; the metrics of regularizers and
        of the relaxation.
    """
    value: dict[str, float] = {}
    mixing = module.mean()
    for name, weights in mixing.items():
        value[f"entropy/{name}"] = float(torch.special.entr(weights.detach()).sum(dim=1).mean())
        skips = module.space.choices[name].where("skip_connect")
        if skips.any():
            value[f"skip_share/{name}"] = float(weights.detach().cpu()[skips].mean())
    if module.hypergradient.learns:
        allowed = {name: module.decisions.selectable(name) for name in module.decisions.choices}
        value |= decidedness(mixing, allowed, module.relaxation.simplex)
    value["arch_lr"] = module.settings.arch.lr if module.learns_arch else 0.0
    value["weight_decay"] = module.values.weight_decay
    for part in module.regularizers.values():
        value |= part.metrics()
    value |= module.relaxation.metrics(module.progress.position)
    if module.epsilon > 0:
        value["epsilon"] = module.epsilon
    return value
