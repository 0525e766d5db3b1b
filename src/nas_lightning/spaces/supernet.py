"""The supernet of a cell space.

Mixing weights are an argument: the supernet holds no architecture parameters and knows no method.
Shapes: E edges (rows of a choice), O options, B images, C channels, K the divisor of partial channels, N nodes that
have incoming edges, S sources of the last of them.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from nas_lightning.core.choices import Active, Choice, Mixing, edge_key, offset_key
from nas_lightning.core.space import EdgeInfo
from nas_lightning.spaces.cell_output import CellOutput, preprocess
from nas_lightning.spaces.engines import engine_of, layout_of
from nas_lightning.spaces.known_operations import is_hooked
from nas_lightning.spaces.macro import CellPlan, Preprocess, build_stem, plan_cells
from nas_lightning.spaces.mixed import Engine, Mix, MixedCell, edge_by_edge
from nas_lightning.spaces.partial import check_divisor
from nas_lightning.spaces.regularized import Regularized


class SearchCell(MixedCell):
    """A cell of the DARTS family in which every edge is a mixed operation.

    Args:
        choice: The edges and their options.
        plan: Sizes of the cell.
        concat: The nodes that are joined into the output.
        partial_channels: The divisor K, which divides the channels.
        engine: Computes the nodes.
    """

    def __init__(
        self, choice: Choice, plan: CellPlan, concat: tuple[int, ...], partial_channels: int, engine: Engine
    ) -> None:
        channels = plan.channels // partial_channels
        edges = [
            EdgeInfo(
                choice.name, plan.index, row, source, node, 2 if plan.kind == "reduce" and source < 2 else 1, channels
            )
            for row, (source, node) in enumerate(zip(choice.sources, choice.nodes, strict=True))
        ]
        super().__init__(choice, edges, partial_channels, engine)
        self.concat = concat
        self.preprocess = Preprocess(plan, affine=False)

    def forward(self, before: Tensor, last: Tensor, mix: Mix) -> Tensor:
        """Compute the output of the cell.

        Args:
            before: Output of cell k-2.
            last: Output of cell k-1.
            mix: Mixing weights, active options and hooks of its edges.

        Returns:
            [B, len(concat)·C, H', W'].
        """
        return self._output(CellOutput([before]), CellOutput([last]), mix).joined

    def output(self, before: CellOutput, last: CellOutput, mix: Mix) -> CellOutput:
        """Compute the same without joining nodes, unless hooks are registered on the cell, which get images."""
        if is_hooked(self):
            return CellOutput([self(before.joined, last.joined, mix)])
        return self._output(before, last, mix)

    def _output(self, before: CellOutput, last: CellOutput, mix: Mix) -> CellOutput:
        if self.engine is edge_by_edge:
            inputs = self.preprocess(before.joined, last.joined)
        else:
            inputs = preprocess(self.preprocess, before, last)
        nodes = self.nodes(inputs, mix)
        return CellOutput([nodes[node] for node in self.concat])


class CellSupernet(Regularized):
    """Stem, stack of search cells, global average, linear classifier.

    Args:
        choices: The choices of a cell space: of operations by cell type, and of edges where these have weights.
        concat: For each cell type, the nodes that are concatenated into its output.
        partial_channels: Divisor K of the channels that go through the operations.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        init_channels: Channels C of the first cells; even.
        layers: Number of cells.
        stem: `cifar` or `imagenet`.
        engine: How the nodes of its cells are computed; `auto`, `fast` or `reference`.

    Raises:
        ConfigError: An unknown engine, an odd channel count, one that the divisor does not divide, or an unknown stem.
    """

    def __init__(
        self,
        choices: dict[str, Choice],
        concat: Mapping[str, tuple[int, ...]],
        partial_channels: int = 1,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 16,
        layers: int = 8,
        stem: str = "cifar",
        engine: str = "reference",
    ) -> None:
        super().__init__()
        self.choices = choices
        self.layout = layout_of(engine)
        self.stem = build_stem(stem, in_channels, init_channels)
        check_divisor(init_channels, partial_channels)
        self.cells = nn.ModuleList()
        multiplier = {name: len(nodes) for name, nodes in concat.items()}
        width = 0
        for plan in plan_cells(layers, init_channels, multiplier, stem):
            self.cells.append(
                SearchCell(choices[plan.kind], plan, concat[plan.kind], partial_channels, engine_of(engine))
            )
            width = multiplier[plan.kind] * plan.channels
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, inputs: Tensor, mixing: Mixing, active: Active | None = None) -> Tensor:
        """Compute the logits of the mixture.

        Args:
            inputs: Images [B, in_channels, H, W].
            mixing: Weights by choice, each [E, O], and those of the edges, each [N, S], where the space has them. Under
                `offset_key` of a choice: the offsets that are added to each edge's weighted sum, [E].
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
        images = self.stem(self.layout(inputs))
        last = CellOutput([images[1]])
        before = last if images[0] is images[1] else CellOutput([images[0]])
        for cell in self.cells:
            name: str = cell.choice.name  # type: ignore[union-attr, assignment]
            mix = Mix(
                mixing[name],
                flags[name],
                self.regularizers,
                mixing.get(offset_key(name)),
                mixing[edge_key(name)] if edge_key(name) in self.choices else None,
            )
            if self.recomputes:
                before, last = last, CellOutput([self.cell_output(cell, before.joined, last.joined, mix)])
            else:
                before, last = last, cell.output(before, last, mix)  # type: ignore[operator]
        return self.classifier(last.joined.mean(dim=(2, 3)))
