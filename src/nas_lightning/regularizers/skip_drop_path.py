"""Drop-path on the skip connections alone, at a constant probability."""

from collections.abc import Hashable
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import EdgeInfo, SearchSpace
from nas_lightning.regularizers.noise import require_skip_connect
from nas_lightning.spaces.operations import drop_path


class SkipDropPath(Regularizer, nn.Module):
    """Drops the output of skip_connect independently for each image and scales up the others, never in place.

    The released code of NoisyDARTS (Chu et al.) applies it at 0.3 in every search, plain DARTS included, and in
    validation too; the paper does not mention it. Without noise, at 0.1 or 0.2, it is the drop-path baseline of the
    paper's Table 5. Parts act in their order in the configuration: list it after the noise to drop noisy outputs.

    Left out: the released code works in place, which zeros the node itself for all later edges wherever the skip
    connection is the identity.

    Args:
        probability: Probability that the skip connection of an image is dropped.
        in_validation: Act in evaluation mode as well (as released).
    """

    key = "regularizer.skip_drop_path"
    graphable = True
    adjustable: ClassVar[dict[str, float]] = {"probability": 1.0}

    def __init__(self, probability: Annotated[float, Field(ge=0, lt=1)] = 0.3, in_validation: bool = False) -> None:
        super().__init__()
        self.probability = probability
        self.in_validation = in_validation

    def build(self, space: SearchSpace) -> SearchSpace:
        """Return the same space, if it has skip connections.

        Raises:
            ConfigError: No edge of the space offers skip_connect.
        """
        require_skip_connect(space, self.key, "+regularizer=drop_path (drop-path on whole edges)")
        return space

    def acts_on(self, op: str) -> bool:
        """Return True for skip connections in training mode, and in evaluation mode if `in_validation`."""
        return op == "skip_connect" and (self.training or self.in_validation)

    def statement(self) -> Hashable:
        """Return whether anything is dropped."""
        return self.probability > 0

    def on_op(self, y: Tensor, op: str, edge: EdgeInfo) -> Tensor:
        """Return `y` [B, C, H, W] with zeros for the dropped images if `op` is skip_connect."""
        if not self.acts_on(op):
            return y
        return drop_path(y, lambda: self.probability, "skip drop path", edge.cell, edge.row)
