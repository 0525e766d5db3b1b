"""Unrolled hypergradient: differentiate the outer loss after one inner step through that step.

With w' = w − ξ·(m + ∇_w L_train(w, α) + λ·w), momentum m and weight decay λ constant in α:

    ∇_α L_arch(w'(α), α) = d − ξ·h,   d = ∇_α L_arch(w', α),   v = ∇_w' L_arch(w', α),   h = ∇²_{αw} L_train(w, α)·v

Source: Liu et al., DARTS (ICLR 2019), equations 7 and 8, and the released code, whose finite difference with radius
0.01 / ‖v‖ is the default. In a network of ReLUs such a difference also crosses kinks, whose jumps the exact product
ignores, so the two can differ by tens of percent; with a radius too small to cross any they agree.
With a clip, as in the released code for recurrent cells, g = ∇_w L_train becomes c·g with c = min(1, clip/‖g‖), v is
scaled in the same way before h is taken, d is not, and the result is d − ξ·c·h.
Deviation: that code multiplies h by clip/‖g‖ even where this exceeds 1 and nothing is clipped.
Left out: how c depends on α, which the released code does not unroll either. Released code for images clips neither, so
there is no clip by default.

The virtual step has the momentum of the weights' own, or plain momentum where that is Nesterov's: the released code for
NAS-Bench-201 (Dong & Yang, ICLR 2020) trains the weights with Nesterov's and unrolls a plain step.
"""

from contextlib import nullcontext
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nas_lightning.core.bilevel import Bilevel, Hypergradient, Tensors
from nas_lightning.core.functional import plain_autograd
from nas_lightning.hypergradients.inner import clipped, differences, gradients


def unrolled(
    problem: Bilevel, exact: bool = False, radius: float = 0.01, clip: float | None = None
) -> tuple[Tensors, Tensor]:
    """Return the unrolled hypergradient.

    The inner loss is evaluated up to three times and must repeat its random draws each time: a finite difference of
    losses with fresh masks is mask noise divided by the small radius.

    Args:
        problem: The bilevel problem. Its weights do not change; `reduce` is applied to the inner gradient and to v
            before their norms, and to the result.
        exact: Compute h by double backward instead of the finite difference.
        radius: ‖w± − w‖ of the finite difference.
        clip: Largest norm of the inner gradient and of v; None clips neither.

    Returns:
        Gradients by the names of `arch`, each [R, O], and the outer loss at w' (detached).
    """
    arch, reduce = problem.arch, problem.reduce
    leaves = {name: weight.detach().requires_grad_() for name, weight in problem.weights.items()}
    constant = {name: a.detach() for name, a in arch.items()}
    alpha = list(arch.values())

    with plain_autograd() if exact else nullcontext():
        loss = problem.train_loss(leaves, arch if exact else constant)
    inner = gradients(loss, list(leaves.values()), create_graph=exact)
    reduced, coefficient = clipped(reduce([g.detach() for g in inner]), clip)
    with torch.no_grad():
        stepped = problem.inner_step({name: leaf.detach() for name, leaf in leaves.items()}, reduced)
    virtual = {name: weight.requires_grad_() for name, weight in stepped.items()}

    outer = problem.arch_loss(virtual, arch)
    both = gradients(outer, [*alpha, *virtual.values()])
    direct, v = both[: len(alpha)], clipped(reduce(both[len(alpha) :]), clip)[0]

    if exact:
        mixed = [torch.zeros_like(a) for a in alpha]
        linked = [(g, x) for g, x in zip(inner, v, strict=True) if g.requires_grad]
        if linked:
            found = torch.autograd.grad([g for g, _ in linked], alpha, [x for _, x in linked], allow_unused=True)
            mixed = [m if g is None else g for m, g in zip(mixed, found, strict=True)]
    else:
        base = {name: leaf.detach() for name, leaf in leaves.items()}
        mixed = differences(problem.train_loss, base, arch, v, radius)

    if coefficient is not None:
        mixed = [coefficient * h for h in mixed]
    result = reduce([d - problem.inner_step.lr * h for d, h in zip(direct, mixed, strict=True)])
    return dict(zip(arch, result, strict=True)), outer.detach()


class Unrolled(Hypergradient):
    """Estimates the hypergradient by `unrolled`.

    Args:
        exact: Use double backward instead of the finite difference.
        radius: Radius ‖w± − w‖ of the finite difference.
        virtual_step: Momentum of the virtual step: that of the weights (`as_weights`), or `plain` in any case.
        clip: Largest norm of the inner gradient and of the outer gradient of the weights; None clips neither.
    """

    second_order = True

    def __init__(
        self,
        exact: bool = False,
        radius: Annotated[float, Field(gt=0)] = 0.01,
        virtual_step: Literal["as_weights", "plain"] = "as_weights",
        clip: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        self.exact = exact
        self.radius = radius
        self.virtual_step = virtual_step
        self.clip = clip

    def __call__(self, problem: Bilevel) -> tuple[Tensors, Tensor]:
        """Return gradients by the names of `arch`, each [R, O], and the outer loss; see `unrolled`."""
        if self.virtual_step == "plain":
            problem = replace(problem, inner_step=problem.inner_step.plain())
        return unrolled(problem, self.exact, self.radius, self.clip)
