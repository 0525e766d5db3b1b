"""Random smoothing (SDARTS-RS): train the weights at a random point near the mixing weights."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, get_args

from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Reduce
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.perturbation import Perturbation
from nas_lightning.core.schedules import perturbation_radius
from nas_lightning.perturbations.simplex import jittered

PerturbedKind = Literal["op", "input", "output"]


class Random(Perturbation):
    """Adds fresh U(−ε, ε) to every operation weight in each weight step, then returns to the simplex.

    Source: Chen & Hsieh, SmoothDARTS (ICML 2020), with the schedule and the simplex heuristic of the
    released code, which perturbs inputs and outputs, too, in the spaces of NAS-Bench-1Shot1 (`kinds`). Left out: the
    weights of edges are not perturbed.

    Args:
        start: ε of the first epoch, in units of mixing weights.
        maximum: Limit of the schedule of ε, reached one epoch after the last.
        kinds: Kinds of choices whose weights are perturbed: `op`, `input`, `output`; the space must have one.

    Raises:
        ConfigError: `maximum` is smaller than `start`.
    """

    simplex = True

    def __init__(
        self,
        start: Annotated[float, Field(ge=0)] = 0.03,
        maximum: Annotated[float, Field(ge=0)] = 0.3,
        kinds: Annotated[Sequence[PerturbedKind], Field(min_length=1)] = ("op",),
    ) -> None:
        if maximum < start:
            raise ConfigError(
                f"{self.key}.maximum={maximum}: must be at least {self.key}.start={start};"
                f" use {self.key}.maximum={start}"
            )
        self.start = start
        self.maximum = maximum
        self.kinds = tuple(kinds)

    def __call__(
        self,
        mixing: Mixing,
        loss_of_mixing: Callable[[Mixing], Tensor],
        choices: Mapping[str, Choice],
        epsilon: float,
        generator: Generator | None,
        reduce: Reduce,
    ) -> Mixing:
        """Return perturbed mixing weights, each [R, O] and detached; `mixing` itself if epsilon is 0."""
        if epsilon == 0:
            return mixing
        return {
            name: jittered(weights.detach(), choices[name], epsilon, generator)
            if choices[name].kind in self.kinds
            else weights
            for name, weights in mixing.items()
        }

    def check(self, choices: Mapping[str, Choice]) -> None:
        """Refuse a space without a choice to perturb.

        Raises:
            ConfigError: No choice is of any of the kinds.
        """
        offered = [kind for kind in get_args(PerturbedKind) if any(choice.kind == kind for choice in choices.values())]
        if not set(self.kinds) & set(offered):
            raise ConfigError(
                f"{self.key}.kinds=[{','.join(self.kinds)}]: the space has no such choices, so nothing would be"
                f" perturbed; allowed: {', '.join(offered)}; use {self.key}.kinds=[{','.join(offered)}]"
            )

    def epsilon(self, epoch: int, epochs: int) -> float:
        """Return ε of the epoch; see `perturbation_radius`."""
        return perturbation_radius(epoch, epochs, self.start, self.maximum)
