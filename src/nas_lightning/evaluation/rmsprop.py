"""RMSProp as TensorFlow computes it, which differs from torch's in three places.

Source: `tf.compat.v1.train.RMSPropOptimizer`, by which EfficientNet (Tan & Le, ICML 2019) and NAS-Bench-101 (Ying et
al., ICML 2019) were trained: ε stands under the root, the average of squares starts at 1, and the learning rate enters
the momentum, so that a change of the rate acts on later gradients only. timm's `RMSpropTF` (`lr_in_momentum=True`) has
the same formulas; it is not a dependency and was not run beside this. In torch's own, by which torchvision trains, the
average starts at 0 and ε stands beside the root.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class RmsProp(torch.optim.Optimizer):
    """RMSProp: s ← ρ·s + (1 − ρ)·g²; m ← μ·m + lr·g / √(s + ε); w ← w − m.

    Args:
        params: Weights, or groups of them.
        lr: Learning rate; callers may set it in `param_groups` before each step.
        rho: ρ, decay of the average of squared gradients.
        momentum: μ.
        eps: ε, under the root.
        weight_decay: L2 coefficient, added to the gradient.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        rho: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "momentum": momentum, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; weights without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._descend(weights, group)
        return loss

    def _descend(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] |= {
                    "square_avg": torch.ones_like(weight),
                    "momentum_buffer": torch.zeros_like(weight),
                }
        squares = [self.state[weight]["square_avg"] for weight in weights]
        momenta = [self.state[weight]["momentum_buffer"] for weight in weights]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        torch._foreach_mul_(squares, group["rho"])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["rho"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_addcdiv_(momenta, gradients, roots, group["lr"])
        torch._foreach_sub_(weights, momenta)
