"""Drop-path on the skip connections alone, at a constant probability."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import EdgeInfo, SearchSpace
from nas_lightning.regularizers.noise import require_skip_connect
from nas_lightning.spaces.operations import drop_path


class SkipDropPath(Regularizer, nn.Module):
    """Drops the output of skip_connect for each image by itself and scales the others up, out of place.

    The released code of NoisyDARTS (Chu et al.) does so at 0.3 in every search, its plain DARTS included, and in
    validation too; the paper does not mention it. Without noise, at 0.1 or 0.2, it is the drop-path baseline of the
    paper's Table 5. It acts on what the parts listed before it leave: list it after the noise to drop noisy outputs.

    Left out: the released code works in place, and where the skip connection is the identity so blanks the node
    itself for all later edges.

    Args:
        probability: Chance that an image's skip connection is dropped.
        in_validation: Act in evaluation mode as well (as released).
    """

    key = "regularizer.skip_drop_path"
    adjustable: ClassVar[dict[str, float]] = {"probability": 1.0}

    def __init__(self, probability: Annotated[float, Field(ge=0, lt=1)] = 0.3, in_validation: bool = False) -> None:
        super().__init__()
        self.probability = probability
        self.in_validation = in_validation

    def build(self, space: SearchSpace) -> SearchSpace:
        """The same space.

        Raises:
            ConfigError: No edge of the space offers skip_connect.
        """
        require_skip_connect(space, self.key, "+regularizer=drop_path (drop-path on whole edges)")
        return space

    def acts_on(self, op: str) -> bool:
        """On skip connections, in evaluation mode only as released."""
        return op == "skip_connect" and (self.training or self.in_validation)

    def on_op(self, y: Tensor, op: str, edge: EdgeInfo) -> Tensor:
        """[B, C, H, W] → the same, zero for the dropped images where `op` is skip_connect."""
        if not self.acts_on(op):
            return y
        return drop_path(y, self.probability, "skip drop path", edge.cell, edge.row)
