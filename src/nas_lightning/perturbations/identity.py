"""No perturbation: the weights train on the mixing weights as they are."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Generator, Tensor

from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.protocols import Reduce


class Identity:
    """Leaves the mixing weights alone."""

    bn_mode: Literal["train", "eval"] = "train"

    def __call__(
        self,
        mixing: Mixing,
        loss_of_mixing: Callable[[Mixing], Tensor],
        choices: Mapping[str, Choice],
        epsilon: float,
        generator: Generator | None,
        reduce: Reduce,
    ) -> Mixing:
        """Return `mixing` itself."""
        return mixing

    def epsilon(self, epoch: int, epochs: int) -> float:
        """Zero at every epoch."""
        return 0.0
