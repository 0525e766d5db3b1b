"""Softmax relaxation: each row of logits becomes weights on the simplex (Liu et al., DARTS, ICLR 2019, eq. 2)."""

from typing import Annotated

from pydantic import Field
from torch import Generator

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Mixing
from nas_lightning.relaxations.masks import Logits, masked_softmax


class Softmax(Logits):
    """Computes mixing = softmax(α) over the options of each row that take part.

    The logits start as small Gaussian noise, as in the released code (zeros in the paper, which leave ties).

    Args:
        init_std: Standard deviation of the initial logits.
    """

    logits = True

    def __init__(self, init_std: Annotated[float, Field(ge=0)] = 1e-3) -> None:
        super().__init__(init_std)

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return weights by choice, each [R, O]; exactly 0 for options that do not take part."""
        return {name: masked_softmax(logits, self.mask(name, logits.device)) for name, logits in arch.items()}

    def mean(self, arch: Tensors) -> Mixing:
        """Return the same weights: nothing is sampled."""
        return self(arch)
