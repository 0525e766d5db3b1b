"""The evaluator that trains a network of graphs from scratch."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from nas_lightning.core.space import Kind
from nas_lightning.evaluation.training import AdamTraining


@dataclass(frozen=True, kw_only=True)
class GraphTraining(AdamTraining):
    """Trains on graphs by Adam; the last epoch is the result.

    Source of the published recipe: Li et al., SGAS (CVPR 2020), released code for PPI. Paths are dropped of single
    nodes: the mask of the released code, made for maps of four axes, cannot be applied to nodes.

    Args:
        init_channels: Channels C of a node of a cell.
        layers: Number of cells.
    """

    inputs: ClassVar[Kind] = "graphs"

    init_channels: Annotated[int, Field(ge=1)]
    layers: Annotated[int, Field(ge=1)]

    def sizes(self) -> dict[str, Any]:
        """Return channels and cells."""
        return {"init_channels": self.init_channels, "layers": self.layers}
