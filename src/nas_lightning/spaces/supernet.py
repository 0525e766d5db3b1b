"""The cell supernet, edge by edge (`engine=reference`): plain on purpose, the measure for every faster engine.

The mixing weights come in as an argument; the supernet holds no architecture parameters and knows no method.
Shapes: E edges (rows of a choice), O options, B images, C channels.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nas_lightning.errors import ConfigError
from nas_lightning.protocols import EdgeInfo, Regularizer
from nas_lightning.spaces.choices import Active, Choice, Mixing
from nas_lightning.spaces.macro import CellPlan, Preprocess, build_stem, plan_cells
from nas_lightning.spaces.operations import Zero, build_operation

if TYPE_CHECKING:
    from nas_lightning.spaces.cell_space import CellSpace


class MixedOperation(nn.Module):
    """Weighted sum of the candidate operations of one edge."""

    def __init__(self, names: tuple[str, ...], edge: EdgeInfo) -> None:
        super().__init__()
        self.names = names
        self.edge = edge
        self.operations = nn.ModuleList(
            build_operation(name, edge.channels, edge.stride, search=True, key=(edge.cell, edge.row)) for name in names
        )

    def forward(
        self, x: Tensor, weights: Tensor, active: list[bool], regularizers: tuple[Regularizer, ...]
    ) -> Tensor | None:
        """[B, C, H, W] and weights [O] → [B, C, H / stride, W / stride]; None where no option is active."""
        total: Tensor | None = None
        for index, (name, operation) in enumerate(zip(self.names, self.operations, strict=True)):
            if not active[index]:
                continue
            y = operation(x)
            for regularizer in regularizers:
                y = regularizer.on_op(y, name, self.edge)
            total = weights[index] * y if total is None else total + weights[index] * y
        if total is not None:
            for regularizer in regularizers:
                total = regularizer.on_edge(total, self.edge)
        return total


class SearchCell(nn.Module):
    """A cell in which every edge is a mixed operation."""

    def __init__(self, choice: Choice, plan: CellPlan, concat: tuple[int, ...]) -> None:
        super().__init__()
        self.choice = choice
        self.concat = concat
        self.preprocess = Preprocess(plan, affine=False)
        self.edges = nn.ModuleList()
        self.nothing = nn.ModuleDict()  # what a node is without inputs
        for row, (source, node) in enumerate(zip(choice.sources, choice.nodes, strict=True)):
            stride = 2 if plan.kind == "reduce" and source < 2 else 1
            edge = EdgeInfo(choice.name, plan.index, row, source, node, stride, plan.channels)
            self.edges.append(MixedOperation(choice.options[row], edge))
            if str(node) not in self.nothing:
                self.nothing[str(node)] = Zero(stride)

    def forward(
        self,
        before: Tensor,
        last: Tensor,
        weights: Tensor,
        active: list[list[bool]],
        regularizers: tuple[Regularizer, ...],
    ) -> Tensor:
        """Outputs of cells k-2 and k-1, and weights [E, O] → [B, len(concat)·C, H', W']."""
        nodes = self.preprocess(before, last)
        for node, rows in self.choice.rows_of_node.items():
            total: Tensor | None = None
            for row in rows:
                source = nodes[self.choice.sources[row]]
                y = self.edges[row](source, weights[row], active[row], regularizers)
                if y is not None:
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
        ConfigError: An odd channel count or an unknown stem.
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
        self.cells = nn.ModuleList()
        multiplier = {name: len(nodes) for name, nodes in space.concat.items()}
        width = 0
        for plan in plan_cells(layers, init_channels, multiplier, stem):
            self.cells.append(SearchCell(space.choices[plan.kind], plan, space.concat[plan.kind]))
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
            mixing: Weights by choice, each [E, O].
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
            y = cell(before, last, mixing[name], flags[name], self.regularizers)
            before, last = last, y
        return self.classifier(last.mean(dim=(2, 3)))
