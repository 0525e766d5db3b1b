"""Partial channels: send a fraction of the channels through the operations (PC-DARTS, DrNAS)."""

from typing import Annotated

from pydantic import Field

from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import SearchSpace


class PartialChannels(Regularizer):
    """Sends the first C/K channels of every edge through the mixture; the others bypass it.

    Operations are K times narrower, so a supernet with K times the batch size, or with more channels, fits into the
    same memory; and the share of an operation in the output of the edge shrinks, which reduces the advantage of
    operations without weights. `nas_lightning.spaces.partial` computes the edge. The discrete network has full width.

    Source: Xu et al., PC-DARTS (ICLR 2020), K = 4 on CIFAR and K = 2 in the released code for ImageNet, together with
    `EdgeNormalisation`; Chen et al., DrNAS (ICLR 2021), without it.

    Args:
        divisor: K; 1 leaves the supernet unchanged. It must divide `search.init_channels`.
    """

    key = "regularizer.partial_channels"
    graphable = True

    def __init__(self, divisor: Annotated[int, Field(ge=1)] = 4) -> None:
        self.divisor = divisor

    def build(self, space: SearchSpace) -> SearchSpace:
        """Return the space with narrower operations in its supernet."""
        return space.variant(partial_channels=self.divisor)
