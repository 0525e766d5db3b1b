"""First-order hypergradient: the weights are taken as they are (DARTS with ξ = 0, Liu et al., ICLR 2019)."""

from torch import Tensor

from nas_lightning.core.protocols import InnerStep, Loss, Reduce, Tensors
from nas_lightning.hypergradients.inner import gradients


def first_order(
    train_loss: Loss,
    arch_loss: Loss,
    weights: Tensors,
    arch: Tensors,
    inner_step: InnerStep,
    reduce: Reduce,
) -> tuple[Tensors, Tensor]:
    """∇_α L_arch(w, α), for the architecture parameters only: no gradient of a weight is computed.

    Args:
        train_loss: Unused.
        arch_loss: Outer loss.
        weights: Network weights.
        arch: Architecture parameters, requiring gradients.
        inner_step: Unused.
        reduce: Average over processes.

    Returns:
        Gradients by the names of `arch`, and the outer loss (detached).
    """
    frozen = {name: weight.detach() for name, weight in weights.items()}
    loss = arch_loss(frozen, arch)
    found = reduce(gradients(loss, list(arch.values())))
    return dict(zip(arch, found, strict=True)), loss.detach()


class FirstOrder:
    """`first_order` as a part."""

    second_order = False
    learns = True

    def __call__(
        self,
        train_loss: Loss,
        arch_loss: Loss,
        weights: Tensors,
        arch: Tensors,
        inner_step: InnerStep,
        reduce: Reduce,
    ) -> tuple[Tensors, Tensor]:
        """See `first_order`."""
        return first_order(train_loss, arch_loss, weights, arch, inner_step, reduce)
