"""Metrics that are accumulated over an epoch: the mean loss; saving and restoring them between two of its batches."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchmetrics import MeanMetric

from nas_lightning.core.errors import ConfigError


class MeanLoss(MeanMetric):
    """Mean of a loss over the images of an epoch.

    It waits for no device: torchmetrics' own check for NaN would, and without it (`nan_strategy="disable"`) version 1.9
    of torchmetrics ignores the weights.
    """

    def __init__(self) -> None:
        super().__init__(nan_strategy="disable")

    def update(self, value: Tensor, weight: int) -> None:  # type: ignore[override]
        """Add the mean loss of a batch, a scalar, with its number of images."""
        self.mean_value += value.detach() * weight
        self.weight += weight


def state_of_metrics(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the accumulated states, as plain tensors on the CPU, by the names of the metrics."""
    return {
        name: {key: _on_cpu(value) for key, value in metric.metric_state.items()} for name, metric in metrics.items()
    }


def restore_metrics(metrics: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]]) -> None:
    """Restore accumulated states; the metrics move to their device later, with the module that owns them."""
    for name, state in states.items():
        for key, value in state.items():
            setattr(metrics[name], key, value)


def refuse_several(processes: int) -> None:
    """Refuse a state between two batches, which a single process has saved, to several.

    Raises:
        ConfigError: There are several.
    """
    if processes > 1:
        raise ConfigError(
            f"trainer.devices: the last state lies between two batches and was saved by one process, not {processes};"
            " resume it with trainer.devices=1"
        )


def _on_cpu(value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    return value.detach().cpu() if isinstance(value, Tensor) else [part.detach().cpu() for part in value]
