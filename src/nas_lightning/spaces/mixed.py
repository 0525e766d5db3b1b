"""Mixed operations and the cells made of them, edge by edge (`engine=reference`): plain on purpose.

An engine computes the nodes of a cell; this one is the reference that every faster one is tested against.
Shapes: E edges (rows of a choice), O options, B images, C channels, K the divisor of partial channels, N nodes that
have incoming edges, S sources of the last of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from nas_lightning.core.choices import Choice
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import EdgeInfo
from nas_lightning.spaces.operations import Zero, build_operation
from nas_lightning.spaces.partial import bypass, join


@dataclass(frozen=True)
class Mix:
    """Mixing weights, active options and hooks of the edges of a cell in one pass.

    Args:
        weights: Mixing weights [E, O].
        active: Which options are computed at all, [E][O].
        regularizers: They see the outputs of operations and edges.
        offsets: What is added to each edge's weighted sum, [E].
        edge_weights: Factors of the edges into each node, by their place among these, [N, S].
    """

    weights: Tensor
    active: list[list[bool]]
    regularizers: tuple[Regularizer, ...] = ()
    offsets: Tensor | None = None
    edge_weights: Tensor | None = None

    def of_row(self, row: int) -> tuple[Tensor, list[bool], tuple[Regularizer, ...], Tensor | None]:
        """Return the arguments of the mixed operation of a row, all but its input."""
        return (
            self.weights[row],
            self.active[row],
            self.regularizers,
            None if self.offsets is None else self.offsets[row],
        )


class MixedOperation(nn.Module):
    """Weighted sum of the candidate operations of one edge.

    With partial channels the operations see the first C/K channels and the others bypass them; see
    `nas_lightning.spaces.partial`.

    Args:
        names: The candidate operations; `none` stands for one that is not built.
        edge: The place of the edge. Its `channels` are what an operation sees: C, or C/K with partial channels.
        partial_channels: The divisor K.
        build: Builds an operation: (name, channels, stride, search=True, key=…) → module.

    Attributes:
        hooks_edge: Whether hooks on edges act on this one.
    """

    hooks_edge = True

    def __init__(
        self,
        names: tuple[str, ...],
        edge: EdgeInfo,
        partial_channels: int = 1,
        build: Callable[..., nn.Module] = build_operation,
    ) -> None:
        super().__init__()
        self.names = names
        self.edge = edge
        self.partial_channels = partial_channels
        self.operations = nn.ModuleList(
            Zero(edge.stride)
            if name == "none"
            else build(name, edge.channels, edge.stride, search=True, key=(edge.cell, edge.row))
            for name in names
        )

    def forward(
        self,
        x: Tensor,
        weights: Tensor,
        active: list[bool],
        regularizers: tuple[Regularizer, ...],
        offset: Tensor | None = None,
    ) -> Tensor | None:
        """Compute the mixture.

        Args:
            x: [B, C, H, W].
            weights: [O].
            active: Which options are computed at all.
            regularizers: They see each operation's output (C/K channels) and that of the whole edge (C channels).
            offset: A scalar that is added to every element of the weighted sum.

        Returns:
            [B, C, H / stride, W / stride]; None where no option is active, whatever bypasses the operations.
        """
        part = x[:, : self.edge.channels] if self.partial_channels > 1 else x
        total: Tensor | None = None
        for index, (name, operation) in enumerate(zip(self.names, self.operations, strict=True)):
            if not active[index]:
                continue
            y = operation(part)
            for regularizer in regularizers:
                y = regularizer.on_op(y, name, self.edge)
            total = weights[index] * y if total is None else total + weights[index] * y
        if total is None:
            return None
        if offset is not None:
            total = total + offset
        if self.partial_channels > 1:
            total = join(total, bypass(x, self.edge.channels, self.edge.stride), self.partial_channels)
        return self.hooked(total, x, regularizers)

    def hooked(self, y: Tensor, x: Tensor, regularizers: tuple[Regularizer, ...]) -> Tensor:
        """Return the mixed output `y` [B, C, H / stride, W / stride] as hooks on edges change it; `x` is the input."""
        for regularizer in regularizers:
            y = regularizer.on_edge(y, x, self.edge)
        return y


class MixedCell(nn.Module):
    """The nodes of a cell and the mixed operations between them.

    Args:
        choice: The edges and their options.
        edges: The place of each of them, in order.
        partial_channels: The divisor K.
        build: Builds an operation; see `MixedOperation`.
        engine: Computes the nodes.

    Attributes:
        edges: A mixed operation for each edge.
        nothing: By node, the zeros that replace its sum where no edge is active.
    """

    def __init__(
        self,
        choice: Choice,
        edges: list[EdgeInfo],
        partial_channels: int,
        engine: "Engine",
        build: Callable[..., nn.Module] = build_operation,
    ) -> None:
        super().__init__()
        self.choice = choice
        self.engine = engine
        self.edges = nn.ModuleList(
            MixedOperation(options, edge, partial_channels, build)
            for options, edge in zip(choice.built, edges, strict=True)
        )
        self.nothing = nn.ModuleDict({str(edge.node): Zero(edge.stride) for edge in reversed(edges)})

    def nodes(self, inputs: list[Tensor], mix: Mix) -> list[Tensor]:
        """Compute inputs and intermediate nodes from the inputs, each [B, C, H, W]."""
        return self.engine(self, inputs, mix)


Engine = Callable[[MixedCell, list[Tensor], Mix], list[Tensor]]
"""(cell, inputs, mix) → inputs and intermediate nodes."""


def edge_by_edge(cell: MixedCell, inputs: list[Tensor], mix: Mix) -> list[Tensor]:
    """Compute all nodes of a cell: each is the sum of its edges, and no edge shares work with another."""
    nodes = list(inputs)
    for node_row, (node, rows) in enumerate(cell.choice.rows_of_node.items()):
        total: Tensor | None = None
        for place, row in enumerate(rows):
            y = cell.edges[row](nodes[cell.choice.sources[row]], *mix.of_row(row))
            if y is None:
                continue
            if mix.edge_weights is not None:
                y = mix.edge_weights[node_row, place] * y
            total = y if total is None else total + y
        if total is None:  # every edge into the node is switched off
            total = cell.nothing[str(node)](nodes[cell.choice.sources[rows[0]]])
        nodes.append(total)
    return nodes
