"""The supernet of NAS-Bench-1Shot1.

Source: Zela, Siems & Hutter, NAS-Bench-1Shot1 (ICLR 2020), and its released code: every block has the full width C and
a projection of its own of the cell's input, unlike the networks of NAS-Bench-101, which split the width; between stages
a 2×2 maximum pool with a padding of 1, which the networks do not have either.
Deviation: the share of a batch in running statistics is an argument; the released one, 0.997, is a mistake.
Shapes: B images, C channels of a block, n blocks, O operations.
"""

from dataclasses import dataclass

from torch import Tensor, cat, nn

from nas_lightning.core.choices import Active, Choice, Mixing, offset_key
from nas_lightning.core.modules import CONV_1, CONV_3, MAX_POOL
from nas_lightning.core.space import EdgeInfo
from nas_lightning.spaces.engines import layout_of
from nas_lightning.spaces.mixed import Mix, MixedOperation
from nas_lightning.spaces.operations import Pointwise
from nas_lightning.spaces.partial import check_divisor
from nas_lightning.spaces.regularized import Regularized

STAGES = 3


def conv_norm_relu(in_channels: int, out_channels: int, size: int, momentum: float) -> nn.Sequential:
    """Build a convolution that keeps the resolution, an affine batch normalisation and a ReLU."""
    convolution = Pointwise if size == 1 else nn.Conv2d
    return nn.Sequential(
        convolution(in_channels, out_channels, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(out_channels, momentum=momentum),
        nn.ReLU(),
    )


def build_module_operation(name: str, channels: int, momentum: float) -> nn.Module:
    """Build an operation of NAS-Bench-101 on `channels` channels."""
    if name == MAX_POOL:
        return nn.MaxPool2d(3, stride=1, padding=1)
    return conv_norm_relu(channels, channels, {CONV_3: 3, CONV_1: 1}[name], momentum)


class BlockCell(nn.Module):
    """A cell of choice blocks, with all operations of every block and all its inputs.

    Args:
        choices: The choices of the space.
        index: Index of the cell.
        in_channels: Channels of its input.
        channels: Channels C of a block.
        partial_channels: Divisor K of the channels that go through the operations.
        momentum: Share of the batch in running statistics.
    """

    def __init__(
        self,
        choices: dict[str, Choice],
        index: int,
        in_channels: int,
        channels: int,
        partial_channels: int,
        momentum: float,
    ) -> None:
        super().__init__()
        ops = choices["ops"]
        self.blocks = ops.num_rows
        inputs = choices.get("inputs")
        self.row_of_block = {} if inputs is None else {node: row for row, node in enumerate(inputs.nodes)}
        self.projections = nn.ModuleList(conv_norm_relu(in_channels, channels, 1, momentum) for _ in ops.nodes)
        self.to_output = conv_norm_relu(in_channels, self.blocks * channels, 1, momentum)

        def build(name: str, width: int, stride: int, search: bool, key: tuple[int | str, ...]) -> nn.Module:
            return build_module_operation(name, width, momentum)

        self.edges = nn.ModuleList(
            MixedOperation(
                options,
                EdgeInfo(ops.name, index, row, node, node, 1, channels // partial_channels),
                partial_channels,
                build,
            )
            for row, (options, node) in enumerate(zip(ops.built, ops.nodes, strict=True))
        )

    def forward(self, x: Tensor, mix: Mix, inputs: "Weighed", output: "Weighed") -> Tensor:
        """Compute the output of the cell.

        Args:
            x: Input [B, C', H, W].
            mix: Mixing weights, active options and hooks of the operations.
            inputs: Weights and active options of the inputs of the blocks that choose them.
            output: Those of the output, one row.

        Returns:
            [B, n·C, H, W].
        """
        needed = self._needed(inputs, output)
        outputs: list[Tensor | None] = [None]
        for number in range(1, self.blocks + 1):
            outputs.append(self._block(number, x, outputs, mix, inputs) if needed[number] else None)
        joined: Tensor | None = None
        if any(output.active[0][1:]):
            like = next(y for y in outputs if y is not None)
            joined = cat(
                [
                    output.weights[0, number] * y if y is not None and output.active[0][number] else like * 0.0
                    for number, y in enumerate(outputs[1:], start=1)
                ],
                dim=1,
            )
        if not output.active[0][0]:
            assert joined is not None  # the output has parents
            return joined
        past = output.weights[0, 0] * self.to_output(x)
        return past if joined is None else past + joined

    def _needed(self, inputs: "Weighed", output: "Weighed") -> list[bool]:
        """Return which nodes lead to the output by active options, the input first."""
        needed = list(output.active[0])
        for number in range(self.blocks, 0, -1):
            if needed[number]:
                row = self.row_of_block.get(number)
                for parent in range(1, number):
                    needed[parent] |= row is None or inputs.active[row][parent]
        return needed

    def _block(self, number: int, x: Tensor, outputs: list[Tensor | None], mix: Mix, inputs: "Weighed") -> Tensor:
        """Compute the output [B, C, H, W] of a block from the input of the cell and the outputs of earlier blocks."""
        row, projection = self.row_of_block.get(number), self.projections[number - 1]
        total: Tensor | None = None
        for parent in range(number):
            if row is not None and not inputs.active[row][parent]:
                continue
            y = outputs[parent] if parent else projection(x)
            assert y is not None  # a needed block needs its parents
            y = y if row is None else inputs.weights[row, parent] * y
            total = y if total is None else total + y
        assert total is not None
        mixed: Tensor | None = self.edges[number - 1](total, *mix.of_row(number - 1))
        assert mixed is not None  # a block has an operation
        return mixed


@dataclass(frozen=True)
class Weighed:
    """Weights and active options of the rows of a choice.

    Args:
        weights: Mixing weights [R, O].
        active: Which options are computed at all, [R][O].
    """

    weights: Tensor
    active: list[list[bool]]


class NasBench1Shot1Supernet(Regularized):
    """Stem, three stages of cells of choice blocks with pools between them, head.

    Args:
        choices: The choices of the space.
        partial_channels: Divisor K of the channels that go through the operations.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        init_channels: Channels C of a block in the first stage; they double at each pool.
        layers: Cells a stage.
        engine: `auto`, `fast` or `reference`; all compute alike here, `fast` in another memory layout.
        momentum: Share of the batch in running statistics.

    Raises:
        ConfigError: An unknown engine, or a channel count that the divisor does not divide.
    """

    def __init__(
        self,
        choices: dict[str, Choice],
        partial_channels: int = 1,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 16,
        layers: int = 3,
        engine: str = "auto",
        momentum: float = 0.003,
    ) -> None:
        super().__init__()
        check_divisor(init_channels, partial_channels)
        self.choices = choices
        self.layout = layout_of(engine)
        self.layers = layers
        self.stem = conv_norm_relu(in_channels, init_channels, 3, momentum)
        self.pool = nn.MaxPool2d(2, stride=2, padding=1)
        self.cells = nn.ModuleList()
        blocks = choices["ops"].num_rows
        width, channels = init_channels, init_channels
        for index in range(STAGES * layers):
            if index and index % layers == 0:
                channels *= 2
            self.cells.append(BlockCell(choices, index, width, channels, partial_channels, momentum))
            width = blocks * channels
        self.head = nn.Sequential(
            nn.ReLU(),
            Pointwise(width, channels, 1, bias=False),
            nn.BatchNorm2d(channels, affine=False, momentum=momentum),
        )
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, inputs: Tensor, mixing: Mixing, active: Active | None = None) -> Tensor:
        """Compute the logits of the mixture.

        Args:
            inputs: Images [B, in_channels, H, W].
            mixing: Weights by choice, `ops` [n, O], `output` [1, n + 1] and `inputs` [R, ≤ n]; under `ops.offset` the
                offsets of each block's sum, [n]. A path has weight 1 on each option that it takes.
            active: Options that are computed at all, boolean, same keys; None computes all. It is never inferred from a
                weight being zero; without a key all options of that choice are active.

        Returns:
            Logits [B, num_classes].
        """
        given: Active = active or {}
        flags = {name: given.get(name, choice.mask).tolist() for name, choice in self.choices.items()}
        mix = Mix(mixing["ops"], flags["ops"], self.regularizers, mixing.get(offset_key("ops")))
        weighed = {name: Weighed(mixing[name], flags[name]) for name in self.choices if name != "ops"}
        output = weighed["output"]
        of_blocks = weighed.get("inputs", output)  # without choosing blocks no row is read
        x = self.stem(self.layout(inputs))
        for index, cell in enumerate(self.cells):
            if index and index % self.layers == 0:
                x = self.pool(x)
            x = self.cell_output(cell, x, mix, of_blocks, output)
        return self.classifier(self.head(x).mean(dim=(2, 3)))
