"""Take a candidate operation apart into terms of the sum of a node.

An operation of the DARTS family is a ReLU or a pool, convolutions, and a last normalisation. The beginning is shared
through `SourceNode`. The end, normalisation and mixing weight, is left to `NodeSum`, which merges it over all terms of
a node. Only the convolutions in between belong to the edge alone and are computed here.
Shapes: B images, C channels of an operation; operations map [B, C, H, W] to [B, C, H / stride, W / stride].
"""

from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.spaces.depthwise import depthwise, dilated_by_even, dilated_by_phases
from nas_lightning.spaces.known_operations import is_depthwise, is_hooked, is_known, is_plain_norm, is_pointwise
from nas_lightning.spaces.matrices import by_hand, image
from nas_lightning.spaces.node_sum import NodeSum
from nas_lightning.spaces.norm_statistics import PendingUpdates
from nas_lightning.spaces.normed_sums import Term, normed, normed_sum
from nas_lightning.spaces.operations import AveragePool, FactorizedReduce, Identity, Pointwise, Zero
from nas_lightning.spaces.source_node import SourceNode

GRAM_CHANNELS = 16
"""Up to here 1×1 convolutions are normalised without being computed: beyond, the products of Ci×Ci matrices cost more
than the passes over memory that they save (measured on AVX2; see docs/performance.md)."""


def add_operation(
    total: NodeSum, operation: nn.Module, source: SourceNode, weight: Tensor | None, updates: PendingUpdates
) -> None:
    """Add the weighted output of an operation to a sum.

    Args:
        total: The sum.
        operation: Any module; those that are not known or have hooks are called as they are.
        source: The node that the operation reads.
        weight: A scalar; None is 1.
        updates: Collects the running statistics of shared normalisations.
    """
    scale = source.x.new_ones(()) if weight is None else weight
    if is_hooked(operation):
        total.add(operation(in_contiguous_layout(source.x)), scale)
    elif type(operation) is Zero:
        return  # zeros add nothing: neither a value nor a gradient
    elif type(operation) is Identity:
        total.add(source.x, scale)
    elif type(operation) in (nn.MaxPool2d, AveragePool):
        total.add(source.pooled(operation), scale)
    elif type(operation) is FactorizedReduce and is_plain_norm(operation.norm):
        z = operation.convolve(source.strided(0), source.strided(1))
        total.add_normed(Term(z, operation.norm, weight))
    elif type(operation) is not nn.Sequential or not is_known(operation):
        total.add(operation(in_contiguous_layout(source.x)), scale)
    elif isinstance(operation[0], nn.MaxPool2d | AveragePool) and len(operation) == 2:
        _add_pool(total, operation[0], operation[1], source, scale, updates)  # type: ignore[arg-type]
    elif isinstance(operation[0], nn.ReLU) and len(operation) > 2:
        _add_convolutions(total, list(operation)[1:], source, weight)
    else:
        total.add(operation(source.x), scale)


def in_contiguous_layout(x: Tensor) -> Tensor:
    """Return the layout for operations of unknown make: channels_last is unsafe; see `Pointwise`, `AveragePool`."""
    return x.contiguous()


def _add_pool(
    total: NodeSum,
    pool: nn.Module,
    norm: nn.BatchNorm2d,
    source: SourceNode,
    weight: Tensor,
    updates: PendingUpdates,
) -> None:
    """Add a normalised pool.

    In training the statistics are those of the batch, equal for all edges that leave the node: the normalised pool is
    shared. In evaluation each edge has its own running statistics, and only the bare pool is shared.
    """
    if not norm.training:
        total.add(normed(norm, source.pooled(pool)), weight)
        return
    y, mean, var = source.normed_pool(pool, norm)
    if mean is not None and var is not None:
        updates.add(norm, mean, var)
    total.add(y, weight)


def _add_convolutions(total: NodeSum, layers: list[nn.Module], source: SourceNode, weight: Tensor | None) -> None:
    """Add the layers that follow a ReLU: convolutions, possibly in several units, and a last normalisation."""
    *layers, norm = layers
    assert isinstance(norm, nn.BatchNorm2d)
    first = layers[0]
    if len(layers) == 1 and isinstance(first, Pointwise) and not is_depthwise(first):
        # First and last convolution at once: the sum merges it and reads only the pixels that its stride keeps.
        x = source.relu if first.stride == (1, 1) else source.strided(0)
        total.add_normed(_pointwise_term(x, first, norm, weight))
        return
    x, layers, phased = _first_convolution(layers, source)
    while layers:
        layer, *layers = layers
        if is_pointwise(layer):
            assert isinstance(layer, nn.Conv2d)
            if not layers:
                total.add_normed(_pointwise_term(x, layer, norm, weight), phased)
                return
            if len(layers) >= 2 and is_plain_norm(layers[0]) and isinstance(layers[1], nn.ReLU):
                # Between two separable units: 1×1 convolution, normalisation and ReLU in one pass, a sum of one term.
                x = image(normed_sum([_pointwise_term(x, layer, layers[0], None)], relu=True), x.shape).to(x.dtype)  # type: ignore[arg-type]
                layers = layers[2:]
                continue
        x = depthwise(layer, x) if is_depthwise(layer) and layer.dilation == (1, 1) else layer(x)  # type: ignore[arg-type]
    total.add_normed(Term(x, norm, weight), phased)


def _first_convolution(layers: list[nn.Module], source: SourceNode) -> tuple[Tensor, list[nn.Module], bool]:
    """Apply the first of the layers to the ReLU of a node, where it can share work with other edges.

    Returns:
        Its output, the layers that are left, and whether the output is in phases, [4·B, C, H/2, W/2].
    """
    first, *others = layers
    if not isinstance(first, nn.Conv2d):
        return source.relu, layers, False
    if not is_depthwise(first):
        return first(source.relu), others, False
    if first.dilation == (1, 1):
        return depthwise(first, source.relu), others, False
    if first.stride == (2, 2):
        return dilated_by_even(first, source.strided(0)), others, False
    if len(others) == 1 and is_pointwise(others[0]) and source.x.shape[2] % 2 == source.x.shape[3] % 2 == 0:
        # A 1×1 convolution and a normalisation do not care in which order the pixels are, so the phases stay apart.
        return dilated_by_phases(first, source.phases), others, True
    return first(source.relu), others, False


def _pointwise_term(x: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d, weight: Tensor | None) -> Term:
    """Build the term of a 1×1 convolution, whose stride x has already seen, and its normalisation.

    On running statistics the two are one matrix at no further cost, at any width. In training that matrix needs the
    covariance of x, which pays up to `GRAM_CHANNELS` channels.
    """
    merged = by_hand(x) and (x.shape[1] <= GRAM_CHANNELS or not norm.training)
    if merged or not by_hand(x):
        return Term(x, norm, weight, convolution.weight)
    return Term(F.conv2d(x, convolution.weight), norm, weight)
