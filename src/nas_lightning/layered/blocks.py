"""Inverted residual blocks (MBConv) and the fixed parts of networks of layers.

Source: Sandler et al., MobileNetV2 (CVPR 2018); squeeze-and-excitation with a quarter of a block's input channels and
Swish as in EfficientNet (Tan & Le, ICML 2019). Normalisation has ε = 1e-3 and kernels are drawn from a normal
distribution of variance 2 / fan-out, as in the released code of ProxylessNAS (Cai et al., ICLR 2019).
Shapes: B images, Ci and Co channels of input and output, E the expansion, K the side of the depthwise kernel.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation

from nas_lightning.layered.structure import LayerPlan, Structure
from nas_lightning.spaces.quick import quicken

EPSILON = 1e-3
SQUEEZED = 4
"""Channels of a block's input for each that its squeeze-and-excitation squeezes to."""
Activation = Literal["relu6", "swish"]
ACTIVATIONS: dict[Activation, Callable[..., nn.Module]] = {"relu6": nn.ReLU6, "swish": nn.SiLU}


def conv_norm(
    inputs: int,
    outputs: int,
    size: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = "relu6",
    affine: bool = True,
) -> Conv2dNormActivation:
    """Build a convolution without bias, its normalisation and, unless it is None, an activation, which is in place.

    In place is safe: what is overwritten is the output of the normalisation, which nothing else reads.
    """
    return Conv2dNormActivation(
        inputs,
        outputs,
        size,
        stride,
        groups=groups,
        norm_layer=partial(nn.BatchNorm2d, eps=EPSILON, affine=affine),
        activation_layer=None if activation is None else ACTIVATIONS[activation],
    )


class InvertedResidual(nn.Module):
    """1×1 convolution to E·Ci channels, depthwise K×K convolution, 1×1 convolution to Co channels.

    Each is normalised; the first two have an activation. With E = 1 the first is left out.

    Args:
        plan: Sizes of the layer.
        expansion: E.
        kernel: K, odd.
        residual: Whether to add the input, where it has the shape of the output.
        squeeze: Whether squeeze-and-excitation follows the depthwise convolution.
        activation: `relu6` or `swish`.
        affine: Whether normalisations have a scale and a shift.
    """

    def __init__(
        self,
        plan: LayerPlan,
        expansion: int,
        kernel: int,
        residual: bool = True,
        squeeze: bool = False,
        activation: Activation = "relu6",
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.residual = residual and plan.keeps_shape
        hidden = expansion * plan.inputs
        parts: list[nn.Module] = []
        if expansion > 1:
            parts.append(conv_norm(plan.inputs, hidden, activation=activation, affine=affine))
        parts.append(conv_norm(hidden, hidden, kernel, plan.stride, hidden, activation, affine))
        if squeeze:
            narrow = max(1, plan.inputs // SQUEEZED)
            parts.append(SqueezeExcitation(hidden, narrow, activation=ACTIVATIONS[activation]))
        parts.append(conv_norm(hidden, plan.outputs, activation=None, affine=affine))
        self.block = nn.Sequential(*parts)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """Map [B, Ci, H, W] to [B, Co, H / stride, W / stride].

        Args:
            x: The input.
            scale: Factors [B, 1, 1, 1] of what is added to the input (stochastic depth); None is 1.
        """
        y: Tensor = self.block(x)
        if not self.residual:
            return y
        return x + (y if scale is None else y * scale.to(y.dtype))


def build_stem(structure: Structure, in_channels: int) -> nn.Sequential:
    """Build what precedes the layers: a 3×3 convolution and a block without expansion, shortcut and Swish."""
    stem = conv_norm(in_channels, structure.stem, 3, structure.stem_stride)
    first = InvertedResidual(LayerPlan(-1, structure.stem, structure.first, 1), 1, 3, residual=False)
    return nn.Sequential(stem, first)


def build_tail(structure: Structure) -> Conv2dNormActivation:
    """Build the 1×1 convolution behind the layers."""
    return conv_norm(structure.layers[-1].outputs, structure.tail)


def quicken_blocks(network: nn.Module) -> None:
    """Replace depthwise convolutions by those that train fast on the CPU; see `quicken`."""
    for part in list(network.modules()):
        if isinstance(part, Conv2dNormActivation):
            quicken(part)


def initialise(network: nn.Module) -> None:
    """Draw kernels from a normal distribution of variance 2 / fan-out, those of the classifier of deviation 0.01."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            fan_out = part.out_channels * part.kernel_size[0] * part.kernel_size[1] // part.groups
            nn.init.normal_(part.weight, std=(2 / fan_out) ** 0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.01)
            nn.init.zeros_(part.bias)
