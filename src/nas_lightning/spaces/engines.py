"""Select how supernets are computed, by the value of `engine=`."""

from collections.abc import Callable

import torch
from torch import Tensor

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.functional import computes_as_cpu
from nas_lightning.spaces.mixed import Engine, Mix, MixedCell, edge_by_edge
from nas_lightning.spaces.node_by_node import node_by_node
from nas_lightning.spaces.waves import waves


def fast(cell: MixedCell, inputs: list[Tensor], mix: Mix) -> list[Tensor]:
    """Compute all nodes of a cell in the way that suits the device: node by node on the CPU, else in waves.

    torch.func has no rules for the in-place updates of running statistics in waves, so it gets the former as well.
    """
    by_node = computes_as_cpu(inputs[0].device) or torch._C._are_functorch_transforms_active()
    return (node_by_node if by_node else waves)(cell, inputs, mix)


ENGINES: dict[str, Engine] = {"fast": fast, "reference": edge_by_edge}


def engine_named(name: str) -> str:
    """Resolve a name to a key of `ENGINES`: `auto` is the fastest.

    Raises:
        ConfigError: It is unknown.
    """
    if name not in ENGINES and name != "auto":
        raise ConfigError(f"engine={name}: unknown; allowed: auto, {', '.join(ENGINES)}")
    return "fast" if name == "auto" else name


def engine_of(name: str) -> Engine:
    """Return the engine of a name; see `engine_named`."""
    return ENGINES[engine_named(name)]


def layout_of(name: str) -> Callable[[Tensor], Tensor]:
    """Return the function that lays out images [B, C, H, W] for an engine: their layout carries through the network."""
    return _unchanged if engine_of(name) is edge_by_edge else _channels_last


def _unchanged(images: Tensor) -> Tensor:
    return images


def _channels_last(images: Tensor) -> Tensor:
    """Convert to channels_last on the CPU, whose kernels prefer it."""
    if not computes_as_cpu(images.device) or torch._C._are_functorch_transforms_active():  # vmap knows no layouts
        return images
    return images.contiguous(memory_format=torch.channels_last)
