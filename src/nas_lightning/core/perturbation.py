"""The contract of perturbations, which change the mixing weights in the weight step."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Generator, Tensor

from nas_lightning.core.bilevel import Reduce
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.part import Part


class Perturbation(Part):
    """Perturbation of the mixing weights in the weight step; the base class is the identity.

    Attributes:
        bn_mode: Mode of the supernet in which `loss_of_mixing` is evaluated: `eval` uses running statistics and
            disables parts that act in training only. In either mode no buffer moves.
        simplex: It projects rows of operations onto the simplex, and therefore needs a relaxation on the simplex.
    """

    key = "perturbation"
    bn_mode: Literal["train", "eval"] = "train"
    simplex: bool = False

    def __call__(
        self,
        mixing: Mixing,
        loss_of_mixing: Callable[[Mixing], Tensor],
        choices: Mapping[str, Choice],
        epsilon: float,
        generator: Generator | None,
        reduce: Reduce,
    ) -> Mixing:
        """Return the perturbed mixing weights; those of edges may not change."""
        return mixing

    def check(self, choices: Mapping[str, Choice]) -> None:
        """Raise ConfigError where it cannot perturb a space with these choices."""

    def epsilon(self, epoch: int, epochs: int) -> float:
        """Return the strength at a search epoch; 0 leaves the weight step as it is."""
        return 0.0
