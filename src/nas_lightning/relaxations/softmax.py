"""Softmax relaxation: each row of logits becomes weights on the simplex (Liu et al., DARTS, ICLR 2019, eq. 2)."""

from typing import Annotated

from pydantic import Field
from torch import Generator

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Mixing
from nas_lightning.relaxations.masks import Logits, masked_softmax


class Softmax(Logits):
    """mixing = softmax(arch) over the options of each row, as far as they take part.

    The logits start as small Gaussian noise, as in the released code (the paper says zero, which leaves ties).

    Args:
        init_std: Standard deviation of the first logits.
    """

    def __init__(self, init_std: Annotated[float, Field(ge=0)] = 1e-3) -> None:
        super().__init__(init_std)

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Weights by choice, each [R, O]; options that do not take part get exactly 0."""
        return {name: masked_softmax(logits, self.mask(name, logits.device)) for name, logits in arch.items()}

    def mean(self, arch: Tensors) -> Mixing:
        """The same weights: nothing is sampled."""
        return self(arch)
