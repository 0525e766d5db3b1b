"""Implicit hypergradient: differentiate the outer loss at the optimum of the inner one, by a Neumann series.

Where ∇_w L_train(w*, α) = 0, the implicit function theorem gives, with H = ∇²_w L_train and v = ∇_w L_arch,

    ∇_α L_arch(w*(α), α) = ∇_α L_arch − ∇²_{αw} L_train · H⁻¹ v,   H⁻¹ ≈ ξ·Σ_{k=0..K} (I − ξH)^k

for a step size ξ below 2/λ_max(H), here the learning rate of the weights. K = 0 is the second-order term of DARTS, with
v at the weights themselves instead of virtual ones. All terms use the same batch.

Source: Zhang, Su, Pan, Chang, Abbasnejad, Haffari, iDARTS (ICML 2021): the exact series (`hessian="exact"`, also in its
code for NAS-Bench-201), and the variant of its code for NAS-Bench-1Shot1 (`hessian="diagonal"`), which puts
h = ∇_w ‖∇_w L_train‖ in the place of H, entry by entry. As in both, the last product is a finite difference of radius
0.01 / ‖v‖ by default.
Left out: weight decay, which the released code does not put into H either; the shift of the weights that it leaves
behind after the difference, since a hypergradient must not move weights.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nas_lightning.core.bilevel import Bilevel, Hypergradient, Reduce, Tensors
from nas_lightning.core.functional import plain_autograd
from nas_lightning.hypergradients.inner import differences, gradients

Hessian = Literal["exact", "diagonal"]


def implicit(
    problem: Bilevel, terms: int = 2, hessian: Hessian = "exact", exact: bool = False, radius: float = 0.01
) -> tuple[Tensors, Tensor]:
    """Return the implicit hypergradient.

    Args:
        problem: The bilevel problem. Its weights do not change; `reduce` is applied to v, to each Hessian product and
            to the result. Of the inner step only its size ξ is used.
        terms: K, the last power of the series; 0 leaves ξ·v.
        hessian: `exact` for Hessian-vector products by double backward, `diagonal` for h in the place of H.
        exact: Compute the last product by double backward, too, instead of the finite difference.
        radius: ‖w± − w‖ of the finite difference for K = 0; of a longer series it grows with the sum.

    Returns:
        Gradients by the names of `arch`, each [R, O], and the outer loss (detached).
    """
    alpha, lr, reduce = list(problem.arch.values()), problem.inner_step.lr, problem.reduce
    leaves = {name: weight.detach().requires_grad_() for name, weight in problem.weights.items()}
    outer = problem.arch_loss(leaves, problem.arch)
    both = gradients(outer, [*alpha, *leaves.values()])
    direct, v = both[: len(alpha)], reduce(both[len(alpha) :])

    inner: list[Tensor] = []
    if terms or exact:
        with plain_autograd():
            loss = problem.train_loss(leaves, problem.arch)
        inner = gradients(loss, list(leaves.values()), create_graph=True)
    summed = v
    if terms:
        series = _exact_series if hessian == "exact" else _diagonal_series
        summed = series(inner, list(leaves.values()), v, lr, terms, reduce)
    if exact:
        mixed = _products(inner, alpha, summed, keep=False)
    else:
        del inner  # its graph is not needed any more
        weights = {name: leaf.detach() for name, leaf in leaves.items()}
        mixed = differences(problem.train_loss, weights, problem.arch, summed, radius, of=v)
    result = reduce([d - lr * h for d, h in zip(direct, mixed, strict=True)])
    return dict(zip(problem.arch, result, strict=True)), outer.detach()


def _products(inner: list[Tensor], inputs: list[Tensor], vectors: list[Tensor], keep: bool) -> list[Tensor]:
    """Return the derivative of ⟨inner gradient, vectors⟩ with respect to `inputs`; zeros where there is none."""
    linked = [(g, x) for g, x in zip(inner, vectors, strict=True) if g.requires_grad]
    if not linked:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(
        [g for g, _ in linked], inputs, [x for _, x in linked], retain_graph=keep, allow_unused=True
    )
    return [torch.zeros_like(x) if f is None else f for x, f in zip(inputs, found, strict=True)]


def _exact_series(
    inner: list[Tensor], weights: list[Tensor], v: list[Tensor], lr: float, terms: int, reduce: Reduce
) -> list[Tensor]:
    """Return Σ_{k=0..K} (I − ξH)^k v, from one graph of the inner gradient."""
    power, summed = v, v
    for _ in range(terms):
        curved = reduce(_products(inner, weights, power, keep=True))
        power = list(torch._foreach_sub(power, curved, alpha=lr))
        summed = list(torch._foreach_add(summed, power))
    return summed


def _diagonal_series(
    inner: list[Tensor], weights: list[Tensor], v: list[Tensor], lr: float, terms: int, reduce: Reduce
) -> list[Tensor]:
    """Return Σ_{k=0..K} (1 − ξh)^k v entry by entry, h = ∇_w ‖∇_w L_train‖ = H·∇L / ‖∇L‖."""
    values = [g.detach() for g in inner]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(values)))
    unit = [g / norm.clamp(min=torch.finfo(norm.dtype).tiny) for g in values]
    h = reduce(_products(inner, weights, unit, keep=True))
    power, summed = v, v
    for _ in range(terms):
        power = [p - lr * x * p for p, x in zip(power, h, strict=True)]
        summed = list(torch._foreach_add(summed, power))
    return summed


class Implicit(Hypergradient):
    """Estimates the hypergradient by `implicit`.

    Args:
        terms: Last power K of the Neumann series.
        hessian: `exact` Hessian-vector products, or `diagonal`, the released variant for NAS-Bench-1Shot1.
        exact: Compute the last product by double backward instead of the finite difference.
        radius: Radius of the finite difference, relative to ‖v‖ as released.
    """

    second_order = True

    def __init__(
        self,
        terms: Annotated[int, Field(ge=0)] = 2,
        hessian: Hessian = "exact",
        exact: bool = False,
        radius: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        self.terms = terms
        self.hessian: Hessian = hessian
        self.exact = exact
        self.radius = radius

    def __call__(self, problem: Bilevel) -> tuple[Tensors, Tensor]:
        """Return gradients by the names of `arch`, each [R, O], and the outer loss; see `implicit`."""
        return implicit(problem, self.terms, self.hessian, self.exact, self.radius)
