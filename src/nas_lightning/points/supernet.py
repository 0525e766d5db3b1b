"""The supernet of a space of point clouds or graphs: every edge of every cell is a mixed operation.

Shapes: B clouds, N points, E edges and O options of the choice; see `points.body` for the others.
"""

from torch import Tensor, nn

from nas_lightning.core.batches import Inputs
from nas_lightning.core.choices import Active, Choice, Mixing, edge_key, offset_key
from nas_lightning.core.space import EdgeInfo
from nas_lightning.points.body import Body, CellInputs, Structure
from nas_lightning.points.operations import Family
from nas_lightning.spaces.engines import engine_named
from nas_lightning.spaces.mixed import Mix, MixedCell, edge_by_edge
from nas_lightning.spaces.partial import check_divisor
from nas_lightning.spaces.regularized import Regularized


class PointSearchCell(MixedCell):
    """A cell in which every edge is a mixed operation.

    Args:
        choice: The edges and their options.
        index: Index of the cell.
        channels_in: Channels of the outputs of the two cells before it.
        channels: Channels C of a node.
        family: Its operations.
        partial_channels: The divisor of the channels that go through the operations.
    """

    def __init__(
        self,
        choice: Choice,
        index: int,
        channels_in: tuple[int, int],
        channels: int,
        family: Family,
        partial_channels: int,
    ) -> None:
        graph = family.neighbourhood()

        def build(name: str, channels: int, stride: int, search: bool, key: tuple[int | str, ...]) -> nn.Module:
            return family.build(name, channels, graph)

        edges = [
            EdgeInfo(choice.name, index, row, source, node, 1, channels // partial_channels)
            for row, (source, node) in enumerate(zip(choice.sources, choice.nodes, strict=True))
        ]
        super().__init__(choice, edges, partial_channels, edge_by_edge, build)
        self.inputs = CellInputs(channels_in, channels, graph)

    def forward(self, before: Tensor, last: Tensor, links: Tensor, mix: Mix) -> Tensor:
        """Compute the output of the cell from those of the two before it, [B, C', N, 1], and from the neighbours."""
        return self.inputs.computed(before, last, links, lambda inputs: self.nodes(inputs, mix))


class PointSupernet(Regularized):
    """All candidate networks of a space of point clouds or graphs in one.

    Args:
        choices: The choice of operations, and that of edges where these have weights.
        structure: The network around the cells.
        partial_channels: Divisor of the channels that go through the operations.
        num_classes: Outputs.
        in_channels: Coordinates of a point, or features of a node.
        init_channels: Channels C of a node.
        layers: Number of cells.
        engine: `auto`, `fast` or `reference`; all compute alike here.

    Raises:
        ConfigError: An unknown engine, or a divisor that does not divide the channels.
    """

    def __init__(
        self,
        choices: dict[str, Choice],
        structure: Structure,
        partial_channels: int = 1,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 32,
        layers: int = 2,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        engine_named(engine)
        check_divisor(init_channels, partial_channels)
        self.choices = choices
        (self.choice,) = (choice for choice in choices.values() if choice.kind == "op")

        def cell(index: int, channels_in: tuple[int, int]) -> nn.Module:
            return PointSearchCell(self.choice, index, channels_in, init_channels, structure.family, partial_channels)

        self.body = Body(structure, cell, num_classes, in_channels, init_channels, layers)

    def forward(self, inputs: Inputs, mixing: Mixing, active: Active | None = None) -> Tensor:
        """Compute the logits of the mixture.

        Args:
            inputs: Clouds [B, in_channels, N], or graphs of n nodes.
            mixing: Weights by choice, [E, O], and those of the edges where the space has them; under `offset_key` the
                offsets that are added to each edge's weighted sum, [E].
            active: Options that are computed at all, boolean, same keys; None computes all. It is never inferred from a
                weight being zero.

        Returns:
            Logits [B, num_classes], or [n, num_classes].
        """
        name = self.choice.name
        mix = Mix(
            mixing[name],
            (self.choice.mask if active is None else active[name]).tolist(),
            self.regularizers,
            mixing.get(offset_key(name)),
            mixing[edge_key(name)] if edge_key(name) in self.choices else None,
        )

        def call(cell: nn.Module, *given: Tensor) -> Tensor:
            return self.cell_output(cell, *given, mix)

        logits: Tensor = self.body(inputs, call)
        return logits
