"""Recognise the operations that the fast engine can take apart: exactly those that this package builds.

Types are compared with `type(...) is`, not with `isinstance`: a user's subclass may compute something else.
Operations that are not recognised, or that have hooks registered on them, are called as modules: correct, only slower.
"""

from torch import nn

from nas_lightning.spaces.operations import AveragePool, Pointwise


def is_hooked(module: nn.Module) -> bool:
    """Check whether hooks are registered on a module, so that it has to be called as it is."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def is_known(operation: nn.Sequential) -> bool:
    """Check whether an operation ends in a plain normalisation and is made of known layers throughout."""
    return is_plain_norm(operation[-1]) and all(_is_known_layer(layer) for layer in operation)


def is_plain_norm(norm: nn.Module) -> bool:
    """Check whether a layer is a batch normalisation without affine parameters and with buffers, moved by a momentum.

    An affine one would need its own scale in each term, and without a momentum torch averages over all batches.
    """
    if type(norm) is not nn.BatchNorm2d or norm.affine or is_hooked(norm):
        return False
    return norm.momentum is not None and norm.running_mean is not None


def is_depthwise(layer: nn.Module) -> bool:
    """Check whether a layer is a depthwise convolution of more than one channel."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


def is_pointwise(layer: nn.Module) -> bool:
    """Check whether a layer is a dense 1×1 convolution of stride 1."""
    return isinstance(layer, nn.Conv2d) and (layer.kernel_size, layer.stride, layer.groups) == ((1, 1), (1, 1), 1)


def _is_known_layer(layer: nn.Module) -> bool:
    if is_hooked(layer):
        return False
    if type(layer) not in (nn.Conv2d, Pointwise):
        return type(layer) in (nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d, AveragePool)
    assert isinstance(layer, nn.Conv2d)
    side, dilation = layer.kernel_size[0], layer.dilation[0]
    padding = dilation * (side - 1) // 2
    return (
        layer.bias is None
        and side % 2 == 1
        and dilation <= 2
        # torch's own strided 1×1 convolution writes out of bounds in channels_last; see `Pointwise`.
        and (layer.stride == (1, 1) or (layer.stride == (2, 2) and (side > 1 or type(layer) is Pointwise)))
        and layer.padding_mode == "zeros"
        and (layer.kernel_size, layer.dilation, layer.padding)
        == ((side, side), (dilation, dilation), (padding, padding))
    )
