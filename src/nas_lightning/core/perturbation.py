"""The contract of perturbations: what is done to the mixing weights in the weight step."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Generator, Tensor

from nas_lightning.core.bilevel import Reduce
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.part import Part


class Perturbation(Part):
    """Changes the mixing weights of the weight step; leaves them alone by itself.

    Attributes:
        bn_mode: Mode of the supernet in which `loss_of_mixing` is evaluated: `eval` takes running statistics and
            switches off what acts in training only. In either mode no buffer moves.
        simplex: Whether it returns rows of operations to the simplex: then it takes relaxations on the simplex only.
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
        """Return the perturbed mixing weights; only choices of kind `op` may change."""
        return mixing

    def epsilon(self, epoch: int, epochs: int) -> float:
        """Return the strength at a search epoch; 0 leaves the weight step as it is."""
        return 0.0
