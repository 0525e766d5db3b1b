"""The supernet of a space of layers: each layer is the mixture of its options.

Shapes: B images, R layers (rows of the choice) and O options, Ci and Co channels of a layer's input and output.
"""

from torch import Tensor, nn

from nas_lightning.core.choices import Active, Choice, Mixing, offset_key
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import EdgeInfo
from nas_lightning.layered.blocks import build_stem, build_tail, initialise, quicken_blocks
from nas_lightning.layered.options import LAYERS, SKIP, build_block
from nas_lightning.layered.structure import LayerPlan, Structure
from nas_lightning.spaces.engines import engine_named, layout_of
from nas_lightning.spaces.mixed import Mix, MixedOperation
from nas_lightning.spaces.regularized import Regularized


class MixedLayer(MixedOperation):
    """The weighted sum of a layer's options.

    Hooks of regularizers on a whole edge act on what the layer changes, y − x, where it can be the identity, and not at
    all where it cannot: a dropped path leaves the image as it is, as stochastic depth does, while in a chain of layers
    zeros would be the end of it.

    Args:
        options: Names of the options.
        plan: Sizes of the layer.
        outer: Whether the input is added to the mixture instead of to each block. Hooks on operations then see it as
            `skip_connect`.
        affine: Whether normalisations of blocks have a scale and a shift.
    """

    def __init__(self, options: tuple[str, ...], plan: LayerPlan, outer: bool, affine: bool) -> None:
        def build(name: str, *_: int, **__: object) -> nn.Module:
            return build_block(name, plan, not outer, affine)

        index = plan.index
        edge = EdgeInfo(LAYERS, index, index, index, index + 1, plan.stride, plan.outputs)
        super().__init__(options, edge, build=build)
        self.outer = outer and plan.keeps_shape
        self.hooks_edge = plan.keeps_shape

    def forward(
        self,
        x: Tensor,
        weights: Tensor,
        active: list[bool],
        regularizers: tuple[Regularizer, ...],
        offset: Tensor | None = None,
    ) -> Tensor:
        """Map [B, Ci, H, W] to [B, Co, H / stride, W / stride]; without an active option the sum is zero.

        Arguments are those of `MixedOperation`.
        """
        y = super().forward(x, weights, active, regularizers, offset)
        if self.outer:
            identity = x
            for regularizer in regularizers:
                identity = regularizer.on_op(identity, SKIP, self.edge)
            return identity if y is None else y + identity
        if y is None:
            stride = self.edge.stride
            return x[:, :1, ::stride, ::stride].mul(0.0).expand(-1, self.edge.channels, -1, -1)
        return y

    def hooked(self, y: Tensor, x: Tensor, regularizers: tuple[Regularizer, ...]) -> Tensor:
        """Let the hooks on edges act on the change that the layer makes."""
        acting = [part for part in regularizers if part.acts_on_edges()] if self.hooks_edge else []
        if not acting:
            return y
        change = y if self.outer else y - x
        for part in acting:
            change = part.on_edge(change, x, self.edge)
        return change if self.outer else x + change


class LayerSupernet(Regularized):
    """Stem, mixed layers, 1×1 convolution, global average, linear classifier.

    Args:
        choice: The choice `layers`.
        structure: Sizes of the network.
        outer: Whether shortcuts are around the mixtures; see `MixedLayer`.
        affine: Whether normalisations of blocks have a scale and a shift; those of the fixed parts do.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        engine: `auto`, `fast` or `reference`; `fast` has another memory layout and quick depthwise convolutions.

    Raises:
        ConfigError: An unknown engine.
    """

    def __init__(
        self,
        choice: Choice,
        structure: Structure,
        outer: bool = False,
        affine: bool = True,
        num_classes: int = 10,
        in_channels: int = 3,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        self.choices = {choice.name: choice}
        self.layout = layout_of(engine)
        self.stem = build_stem(structure, in_channels)
        self.layers = nn.ModuleList(
            MixedLayer(options, plan, outer, affine)
            for options, plan in zip(choice.options, structure.layers, strict=True)
        )
        self.tail = build_tail(structure)
        self.classifier = nn.Linear(structure.tail, num_classes)
        initialise(self)
        if engine_named(engine) == "fast":
            quicken_blocks(self)

    def forward(self, inputs: Tensor, mixing: Mixing, active: Active | None = None) -> Tensor:
        """Compute the logits of the mixture.

        Args:
            inputs: Images [B, in_channels, H, W].
            mixing: Weights of the options, `layers` [R, O]; under `offset_key` of the choice the offsets that are added
                to each layer's weighted sum, [R].
            active: Options that are computed at all, boolean, same key; None computes all. It is never inferred from a
                weight being zero.

        Returns:
            Logits [B, num_classes].
        """
        flags = (self.choices[LAYERS].mask if active is None else active[LAYERS]).tolist()
        mix = Mix(mixing[LAYERS], flags, self.regularizers, mixing.get(offset_key(LAYERS)))
        x = self.stem(self.layout(inputs))
        for row, layer in enumerate(self.layers):
            x = self.cell_output(layer, x, *mix.of_row(row))
        return self.classifier(self.tail(x).mean(dim=(2, 3)))
