"""First-order hypergradient: treat the weights as constant (DARTS with ξ = 0, Liu et al., ICLR 2019)."""

from torch import Tensor

from nas_lightning.core.bilevel import Bilevel, Hypergradient, Tensors
from nas_lightning.hypergradients.inner import gradients


def first_order(problem: Bilevel) -> tuple[Tensors, Tensor]:
    """Return ∇_α L_arch(w, α); no gradient of a weight is computed.

    Args:
        problem: The bilevel problem; inner loss and inner step are not used.

    Returns:
        Gradients by the names of `arch`, each [R, O] and reduced over ranks, and the outer loss (detached).
    """
    frozen = {name: weight.detach() for name, weight in problem.weights.items()}
    loss = problem.arch_loss(frozen, problem.arch)
    found = problem.reduce(gradients(loss, list(problem.arch.values())))
    return dict(zip(problem.arch, found, strict=True)), loss.detach()


class FirstOrder(Hypergradient):
    """Estimates the hypergradient by `first_order`."""

    direct = True

    def __call__(self, problem: Bilevel) -> tuple[Tensors, Tensor]:
        """Return gradients by the names of `arch`, each [R, O], and the outer loss; see `first_order`."""
        return first_order(problem)
