"""Adversarial perturbation (SDARTS-ADV): train the weights at the mixing weights of locally highest train loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Reduce
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.perturbation import Perturbation
from nas_lightning.core.placed import placed
from nas_lightning.hypergradients.inner import gradients
from nas_lightning.perturbations.random import PerturbedKind, Random
from nas_lightning.perturbations.simplex import onto_simplex


class Adversarial(Perturbation):
    """Ascends the train loss by projected sign gradients within an L∞ ball of radius ε, from a random start.

    Each weight step costs `steps` additional forward and backward passes and two more forward passes. The clean
    mixing weights are kept where the attack ends at a lower or NaN loss.

    Source: Chen & Hsieh, SmoothDARTS (ICML 2020), with step size 2ε/steps and the simplex heuristic of the
    released code after each step, so that a result can lie farther than ε from the clean weights.
    Left out: as for `Random`.

    Args:
        steps: Ascent steps.
        start: ε of the first epoch, in units of mixing weights.
        maximum: Limit of the schedule of ε, reached one epoch after the last.
        kinds: Kinds of choices whose weights are perturbed: `op`, `input`, `output`; the space must have one.
        pgd_bn_mode: Mode of the supernet during the attack: `eval` (as released) uses running statistics, which are
            poor in the first epochs; `train` uses those of the batch.

    Raises:
        ConfigError: `maximum` is smaller than `start`.
    """

    simplex = True

    def __init__(
        self,
        steps: Annotated[int, Field(ge=1)] = 7,
        start: Annotated[float, Field(ge=0)] = 0.03,
        maximum: Annotated[float, Field(ge=0)] = 0.3,
        pgd_bn_mode: Literal["eval", "train"] = "eval",
        kinds: Annotated[Sequence[PerturbedKind], Field(min_length=1)] = ("op",),
    ) -> None:
        self.random_start = Random(start, maximum, kinds)
        self.steps = steps
        self.kinds = self.random_start.kinds
        self.bn_mode = pgd_bn_mode

    def __call__(
        self,
        mixing: Mixing,
        loss_of_mixing: Callable[[Mixing], Tensor],
        choices: Mapping[str, Choice],
        epsilon: float,
        generator: Generator | None,
        reduce: Reduce,
    ) -> Mixing:
        """Return perturbed mixing weights, each [R, O], detached; `mixing` itself if epsilon is 0.

        Where the attack fails, they are the clean ones. Losses and gradients are averaged by `reduce` before any
        decision, so that all ranks decide alike.
        """
        if epsilon == 0:
            return mixing

        def loss_at(point: Mixing) -> Tensor:
            with torch.no_grad():
                return reduce([loss_of_mixing(point)])[0]

        clean = {name: weights.detach() for name, weights in mixing.items() if choices[name].kind in self.kinds}
        masks = {name: placed(choices[name].mask, weights.device) for name, weights in clean.items()}
        before = loss_at(mixing)
        point = self.random_start(mixing, loss_of_mixing, choices, epsilon, generator, reduce)
        for _ in range(self.steps):
            leaves = {name: point[name].detach().requires_grad_() for name in clean}
            ascent = reduce(gradients(loss_of_mixing({**point, **leaves}), list(leaves.values())))
            for (name, weights), direction in zip(clean.items(), ascent, strict=True):
                stepped = point[name] + 2 * epsilon / self.steps * direction.sign()
                change = (stepped - weights).clamp(-epsilon, epsilon)
                point[name] = onto_simplex(weights + change, masks[name])
        # In this form a NaN on either side keeps the clean weights. Chosen on the device: the host would have to wait.
        succeeded = loss_at(point) >= before
        return {**point, **{name: torch.where(succeeded, point[name], weights) for name, weights in clean.items()}}

    def check(self, choices: Mapping[str, Choice]) -> None:
        """Refuse a space without a choice to perturb; see `Random.check`."""
        self.random_start.check(choices)

    def epsilon(self, epoch: int, epochs: int) -> float:
        """Return ε of the epoch; see `perturbation_radius`."""
        return self.random_start.epsilon(epoch, epochs)
