"""Partial channels: a fraction of the channels goes through the operations (PC-DARTS, DrNAS)."""

from typing import Annotated

from pydantic import Field

from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import SearchSpace


class PartialChannels(Regularizer):
    """On every edge the first C/K channels go through the mixture and the others bypass it.

    The operations become K times narrower, so that a supernet of K times the batch size, or of more channels, fits into
    the same memory; and an operation's share in what leaves the edge shrinks, which evens out the advantage of those
    without weights. What happens on an edge is told in `nas_lightning.spaces.partial`. The discrete network is as wide
    as without.

    Source: Xu et al., PC-DARTS (ICLR 2020), K = 4 on CIFAR and K = 2 in the released code for ImageNet, together with
    `EdgeNormalisation`; Chen et al., DrNAS (ICLR 2021), without it.

    Args:
        divisor: K; 1 leaves the supernet as it is. It must divide `search.init_channels`.
    """

    key = "regularizer.partial_channels"

    def __init__(self, divisor: Annotated[int, Field(ge=1)] = 4) -> None:
        self.divisor = divisor

    def build(self, space: SearchSpace) -> SearchSpace:
        """The space with narrower operations in its supernet."""
        return space.variant(partial_channels=self.divisor)
