"""Networks of NAS-Bench-101: three stages of equal modules.

Source: Ying et al., NAS-Bench-101 (ICML 2019), section 2, and its released code.
Left out: the initialisation of the released code, which is that of TensorFlow; the numbers of parameters are equal.
Shapes: B images, C channels of a module's output, V nodes.
"""

import warnings

from torch import Tensor, cat, nn

from nas_lightning.core.modules import Module
from nas_lightning.spaces.nasbench1shot1_supernet import STAGES, build_module_operation, conv_norm_relu
from nas_lightning.spaces.operations import drop_path

INIT_CHANNELS, MODULES = 128, 3
"""The published sizes: channels of the first stage, and modules a stage."""


def widths(module: Module, channels: int) -> list[int]:
    """Return the channels of each node of a pruned module.

    The nodes that feed the output share its channels evenly, the first of them one more where that does not come out;
    every other node has as many as the widest that it feeds.

    >>> widths(Module(((), (0,), (0, 1), (1, 2)), ("maxpool3x3", "maxpool3x3")), 5)
    [5, 3, 2, 5]
    """
    last = len(module.parents) - 1
    feeding = [node for node in module.parents[last] if node]
    found = [0] * last + [channels]
    for place, node in enumerate(feeding):
        found[node] = channels // len(feeding) + (place < channels % len(feeding))
    for node in range(last - 1, 0, -1):
        if node not in feeding:
            found[node] = max(found[child] for child in range(node + 1, last) if node in module.parents[child])
    found[0] = channels
    return found


class ModuleCell(nn.Module):
    """A module with operations in its nodes.

    Args:
        module: The graph, pruned.
        index: Index of the module in the network.
        in_channels: Channels of its input.
        channels: Channels of its output.
        momentum: Share of the batch in running statistics.
    """

    def __init__(self, module: Module, index: int, in_channels: int, channels: int, momentum: float) -> None:
        super().__init__()
        self.parents = module.parents
        self.index = index
        self.widths = widths(module, channels)
        last = len(self.parents) - 1
        self.operations = nn.ModuleList(
            build_module_operation(op, width, momentum)
            for op, width in zip(module.operations, self.widths[1:last], strict=True)
        )
        self.projections = nn.ModuleDict(
            {
                str(node): conv_norm_relu(in_channels, self.widths[node], 1, momentum)
                for node in range(1, last + 1)
                if 0 in self.parents[node]
            }
        )

    def forward(self, x: Tensor, drop_probability: float) -> Tensor:
        """Map [B, C', H, W] to [B, C, H, W]."""
        nodes: list[Tensor] = [x]
        last = len(self.parents) - 1
        for node in range(1, last):
            width = self.widths[node]
            # A wider parent gives its first channels.
            total = sum((nodes[p][:, :width] if p else self.projections[str(node)](x)) for p in self.parents[node])
            y = self.operations[node - 1](total)
            if self.training:
                y = drop_path(y, drop_probability, "drop_path", self.index, node)
            nodes.append(y)
        interior = [nodes[p] for p in self.parents[last] if p]
        if 0 not in self.parents[last]:
            return cat(interior, dim=1)
        past: Tensor = self.projections[str(last)](x)
        return past + cat(interior, dim=1) if interior else past


class NasBench101Network(nn.Module):
    """The network of one module, as the benchmark trains it.

    Args:
        module: The graph; it is pruned here.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        init_channels: Channels of the first stage; they double at each pool.
        layers: Modules a stage.
        auxiliary: There is no auxiliary head; True gives a warning.
        momentum: Share of the batch in running statistics; TensorFlow counts the rest, 0.997.

    Attributes:
        drop_probability: Chance of dropping the output of a node in train mode; set by the training schedule.
    """

    def __init__(
        self,
        module: Module,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = INIT_CHANNELS,
        layers: int = MODULES,
        auxiliary: bool = False,
        momentum: float = 0.003,
    ) -> None:
        super().__init__()
        self.layers = layers
        self.drop_probability = 0.0
        self.stem = conv_norm_relu(in_channels, init_channels, 3, momentum)
        self.pool = nn.MaxPool2d(2, stride=2)
        self.cells = nn.ModuleList()
        width = channels = init_channels
        for index in range(STAGES * layers):
            if index and index % layers == 0:
                channels *= 2
            self.cells.append(ModuleCell(module.pruned, index, width, channels, momentum))
            width = channels
        self.classifier = nn.Linear(channels, num_classes)
        if auxiliary:
            warnings.warn(
                "auxiliary head off: networks of NAS-Bench-101 have none (evaluation.auxiliary=0 silences this)",
                stacklevel=3,
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits [B, num_classes] of images [B, in_channels, H, W]."""
        x = self.stem(inputs)
        for index, cell in enumerate(self.cells):
            if index and index % self.layers == 0:
                x = self.pool(x)
            x = cell(x, self.drop_probability)
        return self.classifier(x.mean(dim=(2, 3)))
