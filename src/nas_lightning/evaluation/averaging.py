"""Stochastic gradient descent that averages its weights once the validation loss stops falling (NT-ASGD).

Source: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", algorithm 1, in the form that the
released code of DARTS gives it with torch's ASGD (t0 = 0, lambd = 0). What happens at a loss that is not finite is left
to the caller.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

Compat = Literal["none", "released"]


def stalled(losses: Sequence[float], newest: float, patience: int) -> bool:
    """Return whether a loss calls for averaging: it is above the least of the losses but the last few.

    Args:
        losses: Losses before the newest, in order.
        newest: The newest.
        patience: How many of the last losses do not count; so many and one more must be there.

    >>> stalled([5, 4, 3, 3, 3, 3, 3], 4.5, 5), stalled([5, 4, 3, 3, 3, 3, 3], 3, 5), stalled([1, 3, 3, 3, 3], 9, 5)
    (True, False, False)
    """
    return len(losses) > patience and newest > min(losses[: len(losses) - patience])


class AveragedSgd(torch.optim.Optimizer):
    """SGD without momentum, and from `begin_averaging` on the mean of its weights beside them.

    The weights themselves go on as before; `averaged` puts the mean in their place for a validation. As in torch's
    ASGD, the weights after the first step with averaging are not part of the mean.

    Args:
        params: Weights.
        lr: Learning rate; callers may set it in `param_groups` before each step.
        weight_decay: L2 coefficient, added to the gradient.
        compat: `released`: from the start of averaging on, a step takes the rate that was set for the step before, as
            torch's ASGD does, so that rates that follow the length of a chunk lag behind it.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0, compat: Compat = "none"
    ) -> None:
        # What is no tensor and has to be saved lies in the groups, which torch saves with the state of the weights.
        super().__init__(
            params, {"lr": lr, "weight_decay": weight_decay, "averaging": False, "steps": 0, "stored_lr": None}
        )
        self.compat = compat

    @property
    def averaging(self) -> bool:
        """Whether weights are averaged."""
        return bool(self.param_groups[0]["averaging"])

    def begin_averaging(self) -> None:
        """Average from the next step on, for good."""
        for group in self.param_groups:
            group["averaging"] = True

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; weights without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if all(weight.grad is None for weight in group["params"]):  # no step, which the averages do not count
                continue
            rate = self._rate(group)
            group["steps"] += group["averaging"]
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.add_(weight.grad.add(weight, alpha=group["weight_decay"]), alpha=-rate)
                if group["averaging"]:
                    self._average(weight, group["steps"])
        return loss

    def _rate(self, group: dict[str, Any]) -> float:
        """Return the rate of this step."""
        rate = group["lr"]
        if self.compat == "released" and group["averaging"]:
            stored, group["stored_lr"] = group["stored_lr"], rate
            return rate if stored is None else stored
        return rate

    def _average(self, weight: Tensor, steps: int) -> None:
        state = self.state[weight]
        if "average" not in state:
            state["average"] = torch.empty_like(weight)
        if steps <= 2:  # the second step begins the mean anew
            state["average"].copy_(weight)
        else:
            state["average"].lerp_(weight, 1 / (steps - 1))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Hold the averages, where there are any, in the weights within the block; give the weights back to the bit."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    @torch.no_grad()
    def exchange(self) -> None:
        """Exchange the weights and their averages, where there are any; twice changes nothing, to the bit."""
        for weight, state in self.state.items():
            if "average" in state:
                kept = weight.clone()
                weight.copy_(state["average"])
                state["average"].copy_(kept)
