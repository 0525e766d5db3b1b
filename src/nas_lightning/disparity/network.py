"""The network of a genotype of a disparity space.

Shapes: B pairs, C' channels of an image, H rows, W columns.
"""

from typing import Any

from torch import Tensor, nn

from nas_lightning.core.batches import Maps
from nas_lightning.core.genotypes import Genotype
from nas_lightning.disparity.body import DisparityBody, Structure
from nas_lightning.disparity.operations import build_disparity_operation
from nas_lightning.disparity.supernet import stride_of
from nas_lightning.spaces.operations import Identity, drop_path


class GenotypeNodes(nn.Module):
    """The nodes of a cell of a genotype: each is the sum of the operations on its edges.

    Args:
        genotype: The genotype.
        kind: Kind of the cell.
        index: Index of the cell.
        channels: Channels C of a node.
    """

    def __init__(self, genotype: Genotype, kind: str, index: int, channels: int) -> None:
        super().__init__()
        self.edges = [(node, source) for node, _, source in genotype.cells[kind]]
        self.index = index
        self.operations = nn.ModuleList(
            build_disparity_operation(op, channels, stride_of(kind, source)) for _, op, source in genotype.cells[kind]
        )

    def forward(self, inputs: list[Tensor], drop_probability: float) -> list[Tensor]:
        """Return inputs and nodes, each [B, C, h, w]; the paths of images are dropped with that probability."""
        nodes = dict(enumerate(inputs))
        for row, ((node, source), operation) in enumerate(zip(self.edges, self.operations, strict=True)):
            y = operation(nodes[source])
            if not isinstance(operation, Identity):
                y = drop_path(y, drop_probability, "drop_path", self.index, row)
            nodes[node] = nodes[node] + y if node in nodes else y
        return list(nodes.values())


class DisparityNetwork(nn.Module):
    """A network that estimates disparities.

    Args:
        genotype: The architecture, checked.
        structure: The network around the cells.
        in_channels: Channels C' of an image.
        init_channels: Width C of the structure.
        mean: Mean of the disparities in pixels, which the predictions begin with.

    Attributes:
        drop_probability: Chance of dropping a path in train mode; set by the training schedule, 0 at first.
    """

    def __init__(
        self,
        genotype: Genotype,
        structure: Structure,
        in_channels: int = 3,
        init_channels: int = 8,
        mean: float = 8.0,
    ) -> None:
        super().__init__()
        self.drop_probability = 0.0

        def nodes(kind: str, index: int, channels: int) -> nn.Module:
            return GenotypeNodes(genotype, kind, index, channels)

        self.body = DisparityBody(structure, nodes, in_channels, init_channels, mean)

    def forward(self, inputs: Tensor) -> Maps:
        """Predict disparities of pairs [B, 2·C', H, W]: in pixels, [B, 1, h, w] each, the last at full size."""
        probability = self.drop_probability if self.training else 0.0

        def call(index: int, *images: Any) -> Tensor:
            return self.body.cells[index](*images, probability)

        maps: Maps = self.body(inputs, call)
        return maps
