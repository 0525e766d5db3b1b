"""The layers of a wave: each computes all operations of a stack in one kernel, because channels do not mix there.

Depthwise convolutions and normalisations treat channels one by one, so those of G operations are one of G·C channels.
1×1 convolutions are a batched product. Dense convolutions of one source are one with T·C outputs. Pools and identities
do not depend on the target at all.
Shapes: B images, C channels of an operation, S sources of a wave, T targets of a source, G operations of a stack.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.core.functional import autocast_of
from nas_lightning.spaces.known_operations import is_depthwise
from nas_lightning.spaces.operations import AveragePool, FactorizedReduce
from nas_lightning.spaces.source_node import SourceNode
from nas_lightning.spaces.wave_plan import Stack

Site = tuple[Stack, int]
"""A stack and the position of a layer in it."""


class Sources:
    """The nodes that the edges of a wave leave, as one tensor, with what the stacks share.

    Args:
        nodes: The nodes as their edges see them, each [B, C, H, W].
    """

    def __init__(self, nodes: Sequence[SourceNode]) -> None:
        self.x = (nodes[0].x if len(nodes) == 1 else torch.cat([node.x for node in nodes], 1)).contiguous()
        self._relu: Tensor | None = None
        self._spread: dict[tuple[int, ...], Tensor] = {}

    @property
    def relu(self) -> Tensor:
        """ReLU of all nodes, [B, S·C, H, W]."""
        if self._relu is None:
            self._relu = F.relu(self.x)
        return self._relu

    def spread(self, counts: tuple[int, ...]) -> Tensor:
        """Return the ReLU of each node as often as a stack has operations that leave it, [B, G·C, H, W].

        Args:
            counts: Operations by node.
        """
        if counts not in self._spread:
            self._spread[counts] = _repeated(self.relu, counts)
        return self._spread[counts]


def _repeated(x: Tensor, counts: tuple[int, ...]) -> Tensor:
    B, width, H, W = x.shape
    S = len(counts)
    if set(counts) == {1}:
        return x
    if len(set(counts)) == 1:
        return x.view(B, S, 1, width // S, H, W).expand(-1, -1, counts[0], -1, -1, -1).reshape(B, -1, H, W)
    # `cat`, because the gradient of a gather by index adds up in no fixed order on a GPU.
    parts = x.split(width // S, 1)
    return torch.cat([part for part, count in zip(parts, counts, strict=True) for _ in range(count)], 1)


class Parameters:
    """Kernels and running statistics of all stacks of a cell, gathered in a few kernels a pass.

    Args:
        stacks: Stacks whose outputs are not shared.
        device_type: Device type of the pass; under its autocast the kernels are cast together.
    """

    def __init__(self, stacks: Sequence[Stack], device_type: str) -> None:
        kernels: dict[torch.Size, list[tuple[Site, list[Tensor]]]] = {}
        norms: list[tuple[Site, tuple[nn.BatchNorm2d, ...]]] = []
        for stack in stacks:
            for position, layers in enumerate(stack.layers):
                site = (stack, position)
                if isinstance(layers[0], nn.Conv2d):
                    weights: list[Tensor] = [layer.weight for layer in layers]  # type: ignore[misc]
                    kernels.setdefault(weights[0].shape, []).append((site, weights))
                elif isinstance(layers[0], nn.BatchNorm2d) and _uses_buffers(layers[0]):
                    norms.append((site, layers))  # type: ignore[arg-type]
        self.kernels: dict[Site, Tensor] = {}
        autocast = autocast_of(device_type)
        for shape, sites in kernels.items():
            joined = torch.cat([weight for _, weights in sites for weight in weights])
            if autocast is not None:
                joined = joined.to(autocast)
            parts = joined.split([len(weights) * shape[0] for _, weights in sites])
            self.kernels |= {site: part for (site, _), part in zip(sites, parts, strict=True)}
        self.statistics: dict[Site, tuple[Tensor, Tensor]] = {}
        self._norms = [norm for _, layers in norms for norm in layers]
        if norms:
            with torch.no_grad():
                self._joined = [
                    torch.cat([getattr(norm, name) for norm in self._norms]) for name in ("running_mean", "running_var")
                ]
            sizes = [len(layers) * layers[0].num_features for _, layers in norms]
            of_sites = zip(*(joined.split(sizes) for joined in self._joined), strict=True)
            self.statistics = {site: pair for (site, _), pair in zip(norms, of_sites, strict=True)}

    @torch.no_grad()
    def write_back(self) -> None:
        """Give the running statistics that have moved to their normalisations."""
        moved = [norm for norm in self._norms if norm.training]
        if not moved:
            return
        sizes = [norm.num_features for norm in self._norms]
        for name, joined in zip(("running_mean", "running_var"), self._joined, strict=True):
            parts = [part for norm, part in zip(self._norms, joined.split(sizes), strict=True) if norm.training]
            # `data`, as torch's own operator does: unseen by graphs that hold the buffers without needing their values.
            torch._foreach_copy_([getattr(norm, name).data for norm in moved], parts)
        torch._foreach_add_([getattr(norm, "num_batches_tracked") for norm in moved], 1)  # noqa: B009


def _uses_buffers(norm: nn.BatchNorm2d) -> bool:
    return not norm.training or norm.track_running_stats


def stacked(
    stack: Stack, sources: Sources, counts: tuple[int, ...], parameters: Parameters, scale: Tensor | None
) -> Tensor:
    """Compute all operations of a stack.

    Args:
        stack: Operations that end in a normalisation, by source.
        sources: The nodes that they read.
        counts: Operations by source.
        parameters: Their kernels and running statistics.
        scale: Factor of each channel of the output, [G·C]; None is 1.

    Returns:
        [B, G·C, H / stride, W / stride].
    """
    first = stack.operations[0]
    if isinstance(first, FactorizedReduce):
        x, start = _reduced(stack, sources, counts, parameters), 2
    elif isinstance(stack.layers[0][0], nn.ReLU):
        x, start = _first_convolution(stack, sources, counts, parameters), 2
    else:  # a pool, each with running statistics of its own
        x, start = _repeated(stack.layers[0][0](sources.x), counts), 1
    last = len(stack.layers) - 1
    for position in range(start, last + 1):
        layer, site = stack.layers[position][0], (stack, position)
        if isinstance(layer, nn.BatchNorm2d):
            x = _normed(x, layer, parameters.statistics.get(site), scale if position == last else None)
        elif isinstance(layer, nn.Conv2d):
            kernel = parameters.kernels[site]
            x = _depthwise(x, layer, kernel) if is_depthwise(layer) else _pointwise(x, kernel)
        else:
            x = F.relu(x)
    return x


def _normed(x: Tensor, norm: nn.BatchNorm2d, statistics: tuple[Tensor, Tensor] | None, scale: Tensor | None) -> Tensor:
    mean, var = statistics or (None, None)
    return F.batch_norm(x, mean, var, scale, None, norm.training, norm.momentum or 0.0, norm.eps)


def _depthwise(x: Tensor, layer: nn.Conv2d, kernel: Tensor) -> Tensor:
    return F.conv2d(x, kernel, None, layer.stride, layer.padding, layer.dilation, len(kernel))


def _pointwise(x: Tensor, kernel: Tensor) -> Tensor:
    """Multiply each group of channels by its matrix: [B, G·Ci, H, W] and [G·C, Ci, 1, 1] → [B, G·C, H, W]."""
    B, width, H, W = x.shape
    inputs = kernel.shape[1]
    G = width // inputs
    matrices = kernel.view(1, G, -1, inputs).expand(B, -1, -1, -1).reshape(B * G, -1, inputs)
    return torch.bmm(matrices, x.reshape(B * G, inputs, H * W)).view(B, -1, H, W)


def _first_convolution(stack: Stack, sources: Sources, counts: tuple[int, ...], parameters: Parameters) -> Tensor:
    layer, kernel = stack.layers[1][0], parameters.kernels[stack, 1]
    assert isinstance(layer, nn.Conv2d)
    if is_depthwise(layer):
        return _depthwise(sources.spread(counts), layer, kernel)
    x, stride = sources.relu, layer.stride
    if layer.kernel_size == (1, 1):  # see `Pointwise`
        x, stride = x[:, :, :: stride[0], :: stride[1]], (1, 1)
    return _dense(x, counts, kernel, lambda x, kernel: F.conv2d(x, kernel, None, stride, layer.padding, layer.dilation))


def _reduced(stack: Stack, sources: Sources, counts: tuple[int, ...], parameters: Parameters) -> Tensor:
    """Compute the convolutions of factorized reductions, [B, G·C, H/2, W/2]."""
    halves = []
    for position, x in enumerate((sources.relu[:, :, ::2, ::2], sources.relu[:, :, 1::2, 1::2])):
        kernel = parameters.kernels[stack, position]
        y = _dense(x, counts, kernel, F.conv2d)
        halves.append(y.view(len(x), len(stack.places), -1, *y.shape[2:]))
    return torch.cat(halves, 2).flatten(1, 2)


def _dense(x: Tensor, counts: tuple[int, ...], kernel: Tensor, convolve: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Apply convolutions that mix all channels of a source: those of one source are one of more outputs.

    Args:
        x: The sources, [B, S·Ci, H, W].
        counts: Convolutions by source.
        kernel: Their kernels, by source, [G·C, Ci, k, k].
        convolve: (image, kernel) → image.
    """
    S, G = len(counts), sum(counts)
    if S == 1:
        return convolve(x, kernel)
    if len(set(counts)) == 1 and kernel.shape[2:] == (1, 1):
        return _pointwise(x, kernel)  # a matrix a source, [T·C, Ci]
    images = x.split(kernel.shape[1], 1)
    kernels = kernel.split([count * (len(kernel) // G) for count in counts])
    found = [convolve(image, part) for image, part in zip(images, kernels, strict=True) if len(part)]
    return found[0] if len(found) == 1 else torch.cat(found, 1)


def shared_output(stack: Stack, sources: Sources) -> tuple[Tensor, nn.BatchNorm2d | None]:
    """Compute the output of a shared stack for all sources before a normalisation, and that normalisation.

    Returns:
        [B, S·C, H / stride, W / stride].
    """
    first = stack.layers[0][0]
    if not isinstance(first, nn.MaxPool2d | AveragePool):
        return sources.x, None
    norm = stack.layers[-1][0]
    return first(sources.x), norm if isinstance(norm, nn.BatchNorm2d) else None
