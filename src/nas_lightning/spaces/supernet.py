"""The cell supernet, edge by edge (`engine=reference`): plain on purpose, the measure for every faster engine.

The mixing weights come in as an argument; the supernet holds no architecture parameters and knows no method.
Shapes: E edges (rows of a choice), O options, B images, C channels, K the divisor of partial channels, N nodes that
have incoming edges, S sources of the last of them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nas_lightning.errors import ConfigError
from nas_lightning.protocols import EdgeInfo, Regularizer
from nas_lightning.spaces.choices import Active, Choice, Mixing
from nas_lightning.spaces.macro import CellPlan, Preprocess, build_stem, plan_cells
from nas_lightning.spaces.operations import Zero, build_operation
from nas_lightning.spaces.partial import check_divisor, with_bypass

if TYPE_CHECKING:
    from nas_lightning.spaces.cell_space import CellSpace


class MixedOperation(nn.Module):
    """Weighted sum of the candidate operations of one edge.

    With partial channels the operations see the first C/K channels and the others bypass them; see `with_bypass`.

    Args:
        names: The candidate operations.
        edge: Where the edge stands. Its `channels` are what an operation sees: C, or C/K with partial channels.
        partial_channels: The divisor K.
        build: Builds an operation: (name, channels, stride, search=True, key=…) → module.
    """

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
            build(name, edge.channels, edge.stride, search=True, key=(edge.cell, edge.row)) for name in names
        )

    def forward(
        self,
        x: Tensor,
        weights: Tensor,
        active: list[bool],
        regularizers: tuple[Regularizer, ...],
        offset: Tensor | None = None,
    ) -> Tensor | None:
        """The mixture.

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
            total = with_bypass(total, x, self.edge.stride, self.partial_channels)
        for regularizer in regularizers:
            total = regularizer.on_edge(total, self.edge)
        return total


class SearchCell(nn.Module):
    """A cell in which every edge is a mixed operation.

    Args:
        choice: The edges and their options.
        plan: Sizes of the cell.
        concat: The nodes that are joined into the output.
        partial_channels: The divisor K, which divides the channels.
    """

    def __init__(self, choice: Choice, plan: CellPlan, concat: tuple[int, ...], partial_channels: int = 1) -> None:
        super().__init__()
        self.choice = choice
        self.concat = concat
        self.preprocess = Preprocess(plan, affine=False)
        self.edges = nn.ModuleList()
        self.nothing = nn.ModuleDict()  # what a node is without inputs
        for row, (source, node) in enumerate(zip(choice.sources, choice.nodes, strict=True)):
            stride = 2 if plan.kind == "reduce" and source < 2 else 1
            edge = EdgeInfo(choice.name, plan.index, row, source, node, stride, plan.channels // partial_channels)
            self.edges.append(MixedOperation(choice.options[row], edge, partial_channels))
            if str(node) not in self.nothing:
                self.nothing[str(node)] = Zero(stride)

    def forward(
        self,
        before: Tensor,
        last: Tensor,
        weights: Tensor,
        active: list[list[bool]],
        regularizers: tuple[Regularizer, ...],
        offsets: Tensor | None = None,
        edge_weights: Tensor | None = None,
    ) -> Tensor:
        """One cell's forward pass.

        Args:
            before: Output of cell k-2.
            last: Output of cell k-1.
            weights: Mixing weights [E, O].
            active: Which options are computed at all, [E][O].
            regularizers: They see the outputs of operations and edges.
            offsets: What is added to each edge's weighted sum, [E].
            edge_weights: Factors of the edges into each node, by their place among these, [N, S].

        Returns:
            [B, len(concat)·C, H', W'].
        """
        nodes = self.preprocess(before, last)
        for node_row, (node, rows) in enumerate(self.choice.rows_of_node.items()):
            total: Tensor | None = None
            for place, row in enumerate(rows):
                source = nodes[self.choice.sources[row]]
                offset = None if offsets is None else offsets[row]
                y = self.edges[row](source, weights[row], active[row], regularizers, offset)
                if y is None:
                    continue
                if edge_weights is not None:
                    y = edge_weights[node_row, place] * y
                total = y if total is None else total + y
            if total is None:  # every edge into the node is switched off
                total = self.nothing[str(node)](nodes[self.choice.sources[rows[0]]])
            nodes.append(total)
        return torch.cat([nodes[node] for node in self.concat], dim=1)


class CellSupernet(nn.Module):
    """Stem, stack of search cells, global average, linear classifier.

    Args:
        space: The cell space.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        init_channels: Channels C of the first cells; even.
        layers: Number of cells.
        stem: `cifar` or `imagenet`.

    Raises:
        ConfigError: An odd channel count, one that the space's divisor of partial channels does not divide, or an
            unknown stem.
    """

    def __init__(
        self,
        space: "CellSpace",
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 16,
        layers: int = 8,
        stem: str = "cifar",
    ) -> None:
        super().__init__()
        self.choices = space.choices
        self.regularizers: tuple[Regularizer, ...] = ()
        self.stem = build_stem(stem, in_channels, init_channels)
        check_divisor(init_channels, space.partial_channels)
        self.cells = nn.ModuleList()
        multiplier = {name: len(nodes) for name, nodes in space.concat.items()}
        width = 0
        for plan in plan_cells(layers, init_channels, multiplier, stem):
            self.cells.append(
                SearchCell(space.choices[plan.kind], plan, space.concat[plan.kind], space.partial_channels)
            )
            width = multiplier[plan.kind] * plan.channels
        self.classifier = nn.Linear(width, num_classes)

    def attach(self, regularizers: tuple[Regularizer, ...]) -> None:
        """Let these parts see every operation's and every edge's output; learnable ones join the weights.

        Raises:
            ConfigError: A part has parameters but is no nn.Module, so that it could not be saved or substituted.
        """
        for part in regularizers:
            if not isinstance(part, nn.Module) and any(True for _ in part.parameters()):
                raise ConfigError(f"regularizer {type(part).__name__} has parameters: it must be an nn.Module as well")
        self.regularizers = regularizers
        self.learnable = nn.ModuleList(part for part in regularizers if isinstance(part, nn.Module))

    def forward(self, inputs: Tensor, mixing: Mixing, active: Active | None = None) -> Tensor:
        """Logits of the mixture.

        Args:
            inputs: Images [B, in_channels, H, W].
            mixing: Weights by choice, each [E, O], and those of the edges, each [N, S], where the space has them. Under
                the name of a choice with `.offset` behind it: what is added to each edge's weighted sum, [E].
            active: Options that are computed at all, boolean, same keys; None computes all. It is never inferred
                from a weight being zero.

        Returns:
            Logits [B, num_classes].
        """
        flags = {
            name: (choice.mask if active is None else active[name]).tolist()
            for name, choice in self.choices.items()
            if choice.kind == "op"
        }
        before, last = self.stem(inputs)
        for cell in self.cells:
            name: str = cell.choice.name  # type: ignore[union-attr, assignment]
            y = cell(
                before,
                last,
                mixing[name],
                flags[name],
                self.regularizers,
                mixing.get(f"{name}.offset"),
                mixing[f"{name}_edge"] if f"{name}_edge" in self.choices else None,
            )
            before, last = last, y
        return self.classifier(last.mean(dim=(2, 3)))
