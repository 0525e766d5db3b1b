"""The supernet of a disparity space: every edge of every cell is a mixed operation.

Shapes: B pairs, C' channels of an image, H rows, W columns, E edges and O options of a choice.
"""

from typing import Any

from torch import Tensor, nn

from nas_lightning.core.batches import Maps
from nas_lightning.core.choices import Active, Choice, Mixing, offset_key
from nas_lightning.core.space import EdgeInfo
from nas_lightning.disparity.body import REDUCE, DisparityBody, Structure
from nas_lightning.disparity.operations import build_disparity_operation
from nas_lightning.spaces.engines import layout_of
from nas_lightning.spaces.mixed import Mix, MixedCell, edge_by_edge
from nas_lightning.spaces.regularized import Regularized


class MixedNodes(MixedCell):
    """The nodes of a cell, edge by edge.

    Args:
        choice: The edges and their options.
        index: Index of the cell.
        channels: Channels C of a node.
    """

    def __init__(self, choice: Choice, index: int, channels: int) -> None:
        edges = [
            EdgeInfo(choice.name, index, row, source, node, stride_of(choice.name, source), channels)
            for row, (source, node) in enumerate(zip(choice.sources, choice.nodes, strict=True))
        ]
        super().__init__(choice, edges, 1, edge_by_edge, build_disparity_operation)

    def forward(self, inputs: list[Tensor], mix: Mix) -> list[Tensor]:
        """Return inputs and nodes, each [B, C, h, w]."""
        return self.nodes(inputs, mix)


def stride_of(kind: str, source: int) -> int:
    """Return the stride of an edge: 2 from the inputs of a reducing cell, else 1."""
    return 2 if kind == REDUCE and source < 2 else 1


class DisparitySupernet(Regularized):
    """All candidate networks of a disparity space in one.

    Args:
        choices: The choices of the space.
        structure: The network around the cells.
        in_channels: Channels C' of an image.
        init_channels: Width C of the structure.
        engine: `auto`, `fast` or `reference`; all compute alike here, `fast` in another memory layout.
        mean: Mean of the disparities in pixels, which the predictions begin with.

    Raises:
        ConfigError: An unknown engine.
    """

    def __init__(
        self,
        choices: dict[str, Choice],
        structure: Structure,
        in_channels: int = 3,
        init_channels: int = 6,
        engine: str = "auto",
        mean: float = 8.0,
    ) -> None:
        super().__init__()
        self.choices = choices
        self.layout = layout_of(engine)

        def nodes(kind: str, index: int, channels: int) -> nn.Module:
            return MixedNodes(choices[kind], index, channels)

        self.body = DisparityBody(structure, nodes, in_channels, init_channels, mean)

    def forward(self, inputs: Tensor, mixing: Mixing, active: Active | None = None) -> Maps:
        """Predict disparities by the mixture.

        Args:
            inputs: Pairs, left channels then right ones, [B, 2·C', H, W].
            mixing: Weights by choice, each [E, O]; under `offset_key` of a choice the offsets that are added to each
                edge's weighted sum, [E].
            active: Options that are computed at all, boolean, same keys; None computes all. It is never inferred from a
                weight being zero.

        Returns:
            Disparities in pixels, [B, 1, h, w] each, coarse to fine; the last at full size.
        """
        flags = {
            name: (choice.mask if active is None else active[name]).tolist() for name, choice in self.choices.items()
        }
        mixes = {
            name: Mix(mixing[name], flags[name], self.regularizers, mixing.get(offset_key(name)))
            for name in self.choices
        }

        def call(index: int, *images: Any) -> Tensor:
            return self.cell_output(self.body.cells[index], *images, mixes[self.body.kinds[index]])

        maps: Maps = self.body(self.layout(inputs), call)
        return maps
