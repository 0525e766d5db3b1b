"""First-order hypergradient: the weights are taken as they are (DARTS with ξ = 0, Liu et al., ICLR 2019)."""

from torch import Tensor

from nas_lightning.core.bilevel import Bilevel, Hypergradient, Tensors
from nas_lightning.hypergradients.inner import gradients


def first_order(problem: Bilevel) -> tuple[Tensors, Tensor]:
    """∇_α L_arch(w, α), for the architecture parameters only: no gradient of a weight is computed.

    Args:
        problem: The bilevel problem; its inner loss and step are not used.

    Returns:
        Gradients by the names of `arch`, and the outer loss (detached).
    """
    frozen = {name: weight.detach() for name, weight in problem.weights.items()}
    loss = problem.arch_loss(frozen, problem.arch)
    found = problem.reduce(gradients(loss, list(problem.arch.values())))
    return dict(zip(problem.arch, found, strict=True)), loss.detach()


class FirstOrder(Hypergradient):
    """`first_order` as a part."""

    def __call__(self, problem: Bilevel) -> tuple[Tensors, Tensor]:
        """See `first_order`."""
        return first_order(problem)
