"""The exponential moving average of a network's weights, by which it is measured and exported.

Source: Polyak averaging as EfficientNet (Tan & Le, ICML 2019) and torchvision's recipes use it; `torch.optim.swa_utils`
computes it. The average is the weights after the first step, then d·average + (1 − d)·weights after each further one;
running statistics of normalisations are averaged likewise. EfficientNet's smaller decay in the first steps,
min(d, (1 + n) / (10 + n)), is left out.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class _Update:
    """torch's update; its own function cannot be sent to the processes of a run.

    Args:
        decay: d.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, averages: Sequence[Tensor], weights: Sequence[Tensor], number: Any) -> None:
        """Move averages, in place, towards weights."""
        get_ema_multi_avg_fn(self.decay)(averages, weights, number)


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return the average of a network's weights, which starts as a copy of them and needs no gradients.

    Args:
        network: The network; call `update_parameters(network)` after each of its steps.
        decay: d, share of the average that stays at each step.
    """
    average = AveragedModel(network, multi_avg_fn=_Update(decay), use_buffers=True)
    average.requires_grad_(False)
    return average
