"""Random smoothing (SDARTS-RS): the weights train at a random point near the mixing weights."""

from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Reduce
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.perturbation import Perturbation
from nas_lightning.core.schedules import perturbation_radius
from nas_lightning.perturbations.simplex import jittered


class Random(Perturbation):
    """Adds U(−ε, ε) to every operation weight, anew in each weight step, and returns to the simplex.

    Source: Chen & Hsieh, SmoothDARTS (ICML 2020), with the schedule and the way back to the simplex of the
    released code. Left out: the weights of edges, inputs and outputs stay as they are (the NAS-Bench-1Shot1 code
    perturbs inputs and outputs too).

    Args:
        start: ε of the first epoch, in units of a mixing weight.
        maximum: ε that the schedule runs towards and one more epoch would reach.

    Raises:
        ConfigError: `maximum` is smaller than `start`.
    """

    simplex = True

    def __init__(
        self, start: Annotated[float, Field(ge=0)] = 0.03, maximum: Annotated[float, Field(ge=0)] = 0.3
    ) -> None:
        if maximum < start:
            raise ConfigError(
                f"{self.key}.maximum={maximum}: must be at least {self.key}.start={start};"
                f" use {self.key}.maximum={start}"
            )
        self.start = start
        self.maximum = maximum

    def __call__(
        self,
        mixing: Mixing,
        loss_of_mixing: Callable[[Mixing], Tensor],
        choices: Mapping[str, Choice],
        epsilon: float,
        generator: Generator | None,
        reduce: Reduce,
    ) -> Mixing:
        """Perturbed mixing weights, each [R, O] and detached; `mixing` itself where epsilon is 0."""
        if epsilon == 0:
            return mixing
        return {
            name: jittered(weights.detach(), choices[name], epsilon, generator)
            if choices[name].kind == "op"
            else weights
            for name, weights in mixing.items()
        }

    def epsilon(self, epoch: int, epochs: int) -> float:
        """See `perturbation_radius`."""
        return perturbation_radius(epoch, epochs, self.start, self.maximum)
