"""The bilevel problem of one step, and the contract of estimators of its outer gradient.

    min_α L_arch(w*(α), α)   such that   w*(α) = argmin_w L_train(w, α)

Shapes: R rows and O options of a choice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nas_lightning.core.part import Part

Tensors = dict[str, Tensor]
"""Named tensors: the weights of a network, or the architecture parameters by choice (each [R, O])."""
Loss = Callable[[Tensors, Tensors], Tensor]
"""(weights, architecture parameters) → scalar loss of one fixed batch with fixed draws.

It moves no buffer, unless `search.arch.batch_norm` is `moving`."""
Reduce = Callable[[list[Tensor]], list[Tensor]]
"""Average over the processes; the identity in a single process."""


class InnerStep(Protocol):
    """One virtual step of the weight optimizer, a differentiable function of the gradients."""

    @property
    def lr(self) -> float:
        """Step size ξ."""
        ...

    def plain(self) -> "InnerStep":
        """Return the same step with plain momentum, where the weight optimizer's has Nesterov's."""
        ...

    def __call__(self, weights: Tensors, gradients: list[Tensor]) -> Tensors:
        """Return w − lr·(momentum buffer + gradient + weight decay·w), by the names and in the order of `weights`."""
        ...


@dataclass(frozen=True)
class Bilevel:
    """The bilevel problem at one step.

    Args:
        train_loss: Inner loss L_train.
        arch_loss: Outer loss L_arch.
        weights: Network weights w by name.
        arch: Architecture parameters α by choice, each [R, O], requiring gradients.
        inner_step: The step that the weight optimizer is about to take.
        reduce: Average over processes.
    """

    train_loss: Loss
    arch_loss: Loss
    weights: Tensors
    arch: Tensors
    inner_step: InnerStep
    reduce: Reduce


class Hypergradient(Part):
    """Estimator of the gradient of the outer loss.

    Attributes:
        second_order: It differentiates through the inner step, and therefore runs in float32.
        learns: False where there is no architecture step at all.
        direct: It is the plain gradient at constant weights. Where weights and architecture have the same images, one
            backward pass gives both, and the estimator is not called.
    """

    key = "hypergradient"
    second_order: bool = False
    learns: bool = True
    direct: bool = False

    def __call__(self, problem: Bilevel) -> tuple[Tensors, Tensor]:
        """Return gradients by the names of `arch`, and the outer loss; leave weights and buffers as they were.

        Apply `problem.reduce` to every gradient before it enters a norm or is returned.
        """
        raise NotImplementedError
