"""Dropout after the identity in the search, at a probability that decays within a stage (P-DARTS)."""

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from nas_lightning.core import draws
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import EdgeInfo, SearchSpace
from nas_lightning.regularizers.drop_path import known_epochs
from nas_lightning.regularizers.noise import require_skip_connect


class SkipDropout(Regularizer, nn.Module):
    """Drops single elements of the output of skip_connect where it is the identity, and scales up the others.

    At epoch e of a search of E epochs, of which the first W train the weights alone,
        p(e) = p₀·(E − 1 − e)/E for e < W, and p₀·exp(−decay·(e − W)) from then on:
    when the architecture starts to be trained, p jumps back to p₀. A fresh stage counts its own epochs.

    Source: Chen et al., P-DARTS (ICCV 2019), section 3.3, with the schedule of the released code (E = 25, W = 10). The
    skip connection of stride 2, which is a convolution, is never dropped. Active in training mode only, in architecture
    steps, too, as released.

    Args:
        probability: p₀. At 0 it changes nothing, to the bit.
        decay: Decay an epoch after the warm-up.
        epochs: Epochs E; None takes those of the search, or of the fresh stage.
        warmup_epochs: Epochs W; None takes `search.arch.warmup_epochs`.

    Attributes:
        current: Probability of the current epoch.
    """

    key = "regularizer.skip_dropout"
    graphable = True

    def __init__(
        self,
        probability: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        decay: Annotated[float, Field(ge=0)] = 0.2,
        epochs: Annotated[int, Field(ge=1)] | None = None,
        warmup_epochs: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        super().__init__()
        self.probability = probability
        self.decay = decay
        self.epochs = epochs
        self.warmup_epochs = warmup_epochs
        self.current = 0.0

    def build(self, space: SearchSpace) -> SearchSpace:
        """Return the same space, if it has skip connections.

        Raises:
            ConfigError: No edge of the space offers skip_connect.
        """
        require_skip_connect(space, self.key, "selector=magnitude, or another method")
        return space

    def at_epoch(self, search_epoch: int) -> None:
        """Follow the schedule.

        Raises:
            ConfigError: `epochs` is None.
        """
        epochs, since = known_epochs(self.epochs, self.key), search_epoch - (self.warmup_epochs or 0)
        if since < 0:
            self.current = self.probability * (epochs - 1 - search_epoch) / epochs
        else:
            self.current = self.probability * math.exp(-self.decay * since)

    def acts_on(self, op: str) -> bool:
        """Return True for skip connections in training mode at a positive probability."""
        return op == "skip_connect" and self.training and self.current > 0

    def on_op(self, y: Tensor, op: str, edge: EdgeInfo) -> Tensor:
        """Return `y` [B, C, H, W] with zeros for the dropped elements if `op` is the identity."""
        if not self.acts_on(op) or edge.stride > 1:
            return y
        shape, like = y.shape, draws.sample_like(y)

        def scale() -> Tensor:
            keep = 1.0 - self.current
            return draws.bernoulli(shape, keep, like, "skip dropout", edge.cell, edge.row) / keep

        return y * draws.outside(scale)

    def metrics(self) -> dict[str, float]:
        """Return the probability of the epoch."""
        return {"skip_dropout": self.current}
