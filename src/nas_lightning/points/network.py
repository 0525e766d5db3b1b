"""The network of a genotype of point clouds or graphs.

Shapes: B clouds, N points; see `points.body` for the others.
"""

from torch import Tensor, nn

from nas_lightning.core.batches import Inputs
from nas_lightning.core.genotypes import Genotype
from nas_lightning.points.body import Body, CellInputs, Structure
from nas_lightning.points.operations import Family
from nas_lightning.spaces.operations import Identity, drop_path


class PointCell(nn.Module):
    """A cell with the operations of a genotype.

    Args:
        genotype: The genotype, of one kind of cell.
        index: Index of the cell.
        channels_in: Channels of the outputs of the two cells before it.
        channels: Channels C of a node.
        family: Its operations.

    Attributes:
        kind: Name of the cell in the genotype.
        edges: Node, operation and source of each operation.
    """

    def __init__(
        self, genotype: Genotype, index: int, channels_in: tuple[int, int], channels: int, family: Family
    ) -> None:
        super().__init__()
        graph = family.neighbourhood()
        ((self.kind, self.edges),) = genotype.cells.items()
        self.index = index
        self.operations = nn.ModuleList(family.build(op, channels, graph) for _, op, _ in self.edges)
        self.inputs = CellInputs(channels_in, channels, graph)

    def forward(self, before: Tensor, last: Tensor, links: Tensor, drop_probability: float) -> Tensor:
        """Compute the output of the cell.

        Args:
            before: Output of cell k-2, [B, C', N, 1].
            last: Output of cell k-1, likewise.
            links: Who is whose neighbour.
            drop_probability: Chance that a path is dropped, of each cloud or node.
        """

        def nodes(inputs: list[Tensor]) -> list[Tensor]:
            found = dict(enumerate(inputs))
            for row, ((node, _, source), operation) in enumerate(zip(self.edges, self.operations, strict=True)):
                y = operation(found[source])
                if not isinstance(operation, Identity):
                    y = drop_path(y, drop_probability, "drop_path", self.index, row)
                found[node] = found[node] + y if node in found else y
            return list(found.values())

        return self.inputs.computed(before, last, links, nodes)


class PointNetwork(nn.Module):
    """A network that classifies point clouds, or the nodes of graphs.

    Args:
        genotype: The architecture, checked.
        structure: The network around the cells.
        num_classes: Outputs.
        in_channels: Coordinates of a point, or features of a node.
        init_channels: Channels C of a node.
        layers: Number of cells.

    Attributes:
        drop_probability: Chance of dropping a path in train mode; set by the training schedule, 0 at first.
    """

    def __init__(
        self,
        genotype: Genotype,
        structure: Structure,
        num_classes: int = 40,
        in_channels: int = 3,
        init_channels: int = 128,
        layers: int = 3,
    ) -> None:
        super().__init__()
        self.drop_probability = 0.0

        def cell(index: int, channels_in: tuple[int, int]) -> nn.Module:
            return PointCell(genotype, index, channels_in, init_channels, structure.family)

        self.body = Body(structure, cell, num_classes, in_channels, init_channels, layers)

    @property
    def cells(self) -> nn.ModuleList:
        """The cells."""
        return self.body.cells

    def forward(self, inputs: Inputs) -> Tensor:
        """Compute logits [B, num_classes] of clouds [B, in_channels, N], or [n, num_classes] of the nodes of graphs."""
        probability = self.drop_probability if self.training else 0.0
        logits: Tensor = self.body(inputs, lambda cell, *given: cell(*given, probability))
        return logits
