"""An auxiliary skip connection beside the mixture of every edge, faded out over the search (DARTS-)."""

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import EdgeInfo
from nas_lightning.regularizers.drop_path import known_epochs
from nas_lightning.spaces.operations import FactorizedReduce

DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda share: 1 - share,
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
    "slow_cosine": lambda share: math.cos(0.5 * math.pi * share),
}
"""What is left of the skip once a share of the decay, below 1, has passed."""


class AuxiliarySkip(Regularizer, nn.Module):
    """Adds b(e)·aux(x) to the mixed output of every edge, in every pass: Σ_o p_o·o(x) + b·aux(x).

    The edge has a skip connection whatever its mixing weights are, so the candidate `skip_connect` gains nothing by
    easing the training. aux is the identity at stride 1, and a factorised reduction of its own, without affine
    normalisation, at stride 2. It sees all channels, and no genotype holds it. With s = e/E, and b = 0 from s = 1 on:

        linear       b = start·(1 − s): from 1 to 0.02 in the last of 50 epochs
        cosine       b = start·½(1 + cos πs)
        slow_cosine  b = start·cos(πs/2)
        constant     b = start, for good: the released code without its flag `--decay`

    Source: Chu et al., DARTS- (ICLR 2021), equation 6 and section 4.1, and its released code, which takes E = 50
    whatever the length of the search. Where b is 0 the search is the one without this part, to the bit.

    Args:
        start: b in the first epoch.
        decay: How b decreases, as above.
        branch: aux at stride 1: the `identity`, or a 1×1 `convolution` that starts as the identity and learns.
        epochs: Epochs E of the decay; None is those of the search.

    Attributes:
        strength: b of the current epoch.
        branches: aux where it has weights, by cell and row.
    """

    key = "regularizer.auxiliary_skip"
    graphable = True
    adjustable: ClassVar[dict[str, float]] = {"start": math.inf}

    def __init__(
        self,
        start: Annotated[float, Field(ge=0)] = 1.0,
        decay: Literal["linear", "cosine", "slow_cosine", "constant"] = "linear",
        branch: Literal["identity", "convolution"] = "identity",
        epochs: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        super().__init__()
        self.start = start
        self.decay = decay
        self.branch = branch
        self.epochs = epochs
        self.strength = start
        self.branches = nn.ModuleDict()

    def build_edge(self, edge: EdgeInfo, channels: int) -> None:
        """Build aux of an edge, if it has weights."""
        if edge.stride > 1:
            self.branches[_name(edge)] = FactorizedReduce(channels, channels, affine=False)
        elif self.branch == "convolution":
            convolution = nn.Conv2d(channels, channels, 1, bias=False)
            nn.init.dirac_(convolution.weight)
            self.branches[_name(edge)] = convolution

    def check(self, module: Any) -> None:
        """Refuse branches with weights where the supernet has no edges that build them.

        Raises:
            ConfigError: It has none.
        """
        if self.branch == "convolution" and not self.branches:
            raise ConfigError(
                f"{self.key}.branch=convolution: edges of space={module.space.name} have no channels; use"
                f" {self.key}.branch=identity"
            )

    def at_epoch(self, search_epoch: int) -> None:
        """Follow the schedule.

        Raises:
            ConfigError: `epochs` is None.
        """
        epochs = known_epochs(self.epochs, self.key)
        if self.decay == "constant":
            self.strength = self.start
        else:
            passed = search_epoch >= epochs  # exactly 0 then, which no cosine is
            self.strength = 0.0 if passed else self.start * DECAYS[self.decay](search_epoch / epochs)

    def acts_on_edges(self) -> bool:
        """Return True unless b is 0."""
        return self.strength > 0

    def on_edge(self, y: Tensor, x: Tensor, edge: EdgeInfo) -> Tensor:
        """Return `y` [B, C, H, W] plus b·aux(x) of the edge's input `x` [B, C, H', W']."""
        if not self.acts_on_edges():
            return y
        name = _name(edge)
        added = self.branches[name](x) if name in self.branches else x
        return y + draws.number(lambda: self.strength, y) * added

    def metrics(self) -> dict[str, float]:
        """Return b of the epoch."""
        return {"auxiliary_skip": self.strength}


def _name(edge: EdgeInfo) -> str:
    return f"{edge.cell}_{edge.row}"
