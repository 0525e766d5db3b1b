"""The discrete network of a genotype of layers.

Shapes: B images.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nas_lightning.core import draws
from nas_lightning.layered.blocks import (
    Activation,
    InvertedResidual,
    build_stem,
    build_tail,
    initialise,
    quicken_blocks,
)
from nas_lightning.layered.options import build_layer
from nas_lightning.layered.structure import Structure


class LayerNetwork(nn.Module):
    """Stem, layers, 1×1 convolution, global average, linear classifier.

    Stochastic depth (Huang et al., ECCV 2016) drops what a layer adds to its input, independently for each image, and
    scales up what stays; its probability grows from 0 in the first layer in proportion to a layer's place, as in
    EfficientNet. Its draws are keyed, which those of `torchvision.ops.StochasticDepth` are not.

    Args:
        layers: Name of each layer's option, checked.
        structure: Sizes of the network.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the images.
        squeeze: Whether blocks have squeeze-and-excitation.
        activation: Activation of blocks, `relu6` or `swish`; the fixed parts have ReLU6.

    Attributes:
        drop_probability: Chance that a layer behind the last would be dropped in train mode; set by the training
            schedule, 0 at first.
    """

    def __init__(
        self,
        layers: tuple[str, ...],
        structure: Structure,
        num_classes: int = 10,
        in_channels: int = 3,
        squeeze: bool = False,
        activation: Activation = "relu6",
    ) -> None:
        super().__init__()
        self.drop_probability = 0.0
        self.stem = build_stem(structure, in_channels)
        self.layers = nn.ModuleList(
            build_layer(name, plan, squeeze, activation) for name, plan in zip(layers, structure.layers, strict=True)
        )
        self.tail = build_tail(structure)
        self.classifier = nn.Linear(structure.tail, num_classes)
        self.dropped = [
            index for index, layer in enumerate(self.layers) if isinstance(layer, InvertedResidual) and layer.residual
        ]
        initialise(self)
        quicken_blocks(self)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits [B, num_classes] of images [B, in_channels, H, W]."""
        scales = self._drop_path(inputs) if self.training else {}
        x = self.stem(inputs)
        for index, layer in enumerate(self.layers):
            x = layer(x, scales[index]) if index in scales else layer(x)
        return self.classifier(self.tail(x).mean(dim=(2, 3)))

    @torch.compiler.disable  # named draws cannot be traced, and the probability changes from epoch to epoch
    def _drop_path(self, inputs: Tensor) -> dict[int, Tensor]:
        """Draw the factors of layers, [B, 1, 1, 1] each: 0 where an image's is dropped, else 1 / (1 − p)."""
        if self.drop_probability == 0.0 or not self.dropped:
            return {}
        like, number = draws.sample_like(inputs), len(self.layers)

        def scales() -> Tensor:
            kept = [1.0 - self.drop_probability * index / number for index in self.dropped]
            masks: list[Any] = [
                draws.keep_mask(like, keep, "drop_path", index) / keep
                for index, keep in zip(self.dropped, kept, strict=True)
            ]
            return torch.stack(masks)

        return dict(zip(self.dropped, draws.outside(scales), strict=True))
