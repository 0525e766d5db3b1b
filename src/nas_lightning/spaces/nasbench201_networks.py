"""Supernet and discrete network of NAS-Bench-201.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020), section 2.1, and its released code.
Batch normalisation is not affine in the cells of the supernet, affine in those of the discrete network and in stem,
residual blocks and head of both, as released. It keeps running statistics everywhere; whether they or those of the
batch are used is decided where accuracies are measured (`track_running_stats` 1 or 0 in the released code).
Left out: the bias that the newest released code gives the convolutions of the supernet's cells.
Shapes: E = 6 edges, O = 5 operations, B images, C channels.
"""

import warnings
from collections.abc import Callable

from torch import Tensor, nn

from nas_lightning.core.choices import Active, Choice, Mixing, offset_key
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import EdgeInfo
from nas_lightning.spaces.engines import engine_of, layout_of
from nas_lightning.spaces.mixed import Engine, Mix, MixedCell
from nas_lightning.spaces.nasbench201_macro import INIT_CHANNELS, LAYERS, Skeleton, build_cell_operation
from nas_lightning.spaces.operations import Identity, drop_path
from nas_lightning.spaces.partial import check_divisor
from nas_lightning.spaces.regularized import Regularized


class SearchCell201(MixedCell):
    """A cell in which every edge is a mixed operation; a node is the sum of its edges, the output the last node."""

    def __init__(self, choice: Choice, cell: int, channels: int, partial_channels: int, engine: Engine) -> None:
        edges = [
            EdgeInfo(choice.name, cell, row, source, node, 1, channels // partial_channels)
            for row, (source, node) in enumerate(zip(choice.sources, choice.nodes, strict=True))
        ]
        super().__init__(choice, edges, partial_channels, engine, build_cell_operation)

    def forward(self, x: Tensor, mix: Mix) -> Tensor:
        """Compute the output [B, C, H, W] from that of the layer before, [B, C, H, W]."""
        return self.nodes([x], mix)[-1]


class NasBench201Supernet(Regularized, Skeleton):
    """All 15,625 cells at once, the same mixture in every cell of the network.

    Args:
        choices: The one choice of the space, of operations.
        partial_channels: Divisor K of the channels that go through the operations.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        init_channels: Channels C of the first stage; even.
        layers: Cells a stage.
        stem: Only `cifar`.
        engine: How the nodes of its cells are computed: `auto`, `fast` or `reference`.

    Raises:
        ConfigError: An unknown engine, an odd channel count, one that the divisor does not divide, or another stem.
    """

    def __init__(
        self,
        choices: dict[str, Choice],
        partial_channels: int = 1,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = INIT_CHANNELS,
        layers: int = LAYERS,
        stem: str = "cifar",
        engine: str = "reference",
    ) -> None:
        check_divisor(init_channels, partial_channels)
        (choice,) = choices.values()

        def build_cell(cell: int, channels: int) -> SearchCell201:
            return SearchCell201(choice, cell, channels, partial_channels, engine_of(engine))

        super().__init__(build_cell, num_classes, in_channels, init_channels, layers, stem)
        self.choices = choices
        self.layout = layout_of(engine)
        self.name = choice.name

    def forward(self, inputs: Tensor, mixing: Mixing, active: Active | None = None) -> Tensor:
        """Compute the logits of the mixture.

        Args:
            inputs: Images [B, in_channels, H, W].
            mixing: Weights by choice, `cell` [E, O]; under `cell.offset` the offsets of each edge's sum, [E].
            active: Options that are computed at all, boolean, same keys; None computes all. It is never inferred
                from a weight being zero.

        Returns:
            Logits [B, num_classes].
        """
        flags = (self.choices[self.name].mask if active is None else active[self.name]).tolist()
        mix = Mix(mixing[self.name], flags, self.regularizers, mixing.get(offset_key(self.name)))
        return self.through(self.layout(inputs), lambda cell, x: self.cell_output(cell, x, mix))


class DiscreteCell201(nn.Module):
    """A cell with the operations of a genotype, edge by edge in the order of the space."""

    def __init__(self, choice: Choice, names: dict[tuple[int, int], str], cell: int, channels: int) -> None:
        super().__init__()
        self.choice = choice
        self.cell = cell
        self.operations = nn.ModuleList(
            build_cell_operation(names[node, source], channels, 1, search=False, key=(cell, row))
            for row, (source, node) in enumerate(zip(choice.sources, choice.nodes, strict=True))
        )

    def forward(self, x: Tensor, drop_probability: Callable[[], float]) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        nodes = [x]
        for rows in self.choice.rows_of_node.values():
            total: Tensor | None = None
            for row in rows:
                y = self.operations[row](nodes[self.choice.sources[row]])
                if self.training and not isinstance(self.operations[row], Identity):
                    y = drop_path(y, drop_probability, "drop_path", self.cell, row)
                total = y if total is None else total + y
            assert total is not None  # every node has edges
            nodes.append(total)
        return nodes[-1]


class NasBench201Network(Skeleton):
    """The network of one genotype, as the benchmark trains it.

    Args:
        choice: The one choice of the space.
        genotype: The architecture, of that space.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        init_channels: Channels C of the first stage; even.
        layers: Cells a stage.
        auxiliary: There is no auxiliary head; True gives a warning.
        stem: Only `cifar`.

    Attributes:
        drop_probability: Chance of dropping a path in train mode; set by the training schedule, 0 at first.

    Raises:
        ConfigError: An odd channel count or another stem.
    """

    def __init__(
        self,
        choice: Choice,
        genotype: Genotype,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = INIT_CHANNELS,
        layers: int = LAYERS,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> None:
        names = {(node, source): op for node, op, source in genotype.cells[choice.name]}
        super().__init__(
            lambda cell, channels: DiscreteCell201(choice, names, cell, channels),
            num_classes,
            in_channels,
            init_channels,
            layers,
            stem,
        )
        self.drop_probability = 0.0
        if auxiliary:
            warnings.warn(
                "auxiliary head off: networks of NAS-Bench-201 have none (evaluation.auxiliary=0 silences this)",
                stacklevel=3,
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits [B, num_classes] of images [B, in_channels, H, W]."""
        return self.through(inputs, lambda cell, x: cell(x, lambda: self.drop_probability))
