"""What a batch holds besides images, and the states that networks with memory carry from one batch to the next.

Shapes: T tokens of a chunk, B columns of a text or images, V words, H hidden units; G graphs of n nodes and e edges
together, F features of a node.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Chunk(NamedTuple):
    """Inputs of networks that read text: consecutive tokens of parallel columns.

    Attributes:
        tokens: [T, B] int64.
        state: Hidden state before the first of them, [B, H]; None is zeros.
        rate: Factor on the learning rate of a step on this chunk: its length over the nominal one.
    """

    tokens: Tensor
    state: Tensor | None = None
    rate: float = 1.0


class Graphs(NamedTuple):
    """Inputs of networks that read graphs: the nodes of several graphs, one after the other, as those of one.

    Attributes:
        x: Features of the nodes, [n, F].
        edge_index: Edges, [2, e] int64, from the first row to the second; those of a graph stand together.
        sizes: Nodes of each graph, [G] int64.
    """

    x: Tensor
    edge_index: Tensor
    sizes: Tensor


class Continued(NamedTuple):
    """Outputs of networks that read text.

    Attributes:
        logits: Of the next token, [T, B, V].
        state: Hidden state after the last token, [B, H].
        hidden: Outputs of the cell before dropout, [T, B, H].
        dropped: The same after dropout.
    """

    logits: Tensor
    state: Tensor
    hidden: Tensor
    dropped: Tensor


class Maps(NamedTuple):
    """Outputs of networks that predict maps at several scales.

    Attributes:
        scales: Each [B, 1, h, w], from coarse to fine; the last has the size of the images.
    """

    scales: tuple[Tensor, ...]


Inputs = Tensor | Chunk | Graphs
Outputs = Tensor | Continued | Maps
Batch = tuple[Inputs, Tensor]


def placed_inputs(inputs: Inputs, device: torch.device | str) -> Inputs:
    """Return inputs on a device."""
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    kind: Any = type(inputs)
    placed: Chunk | Graphs = kind(*(part.to(device) if isinstance(part, Tensor) else part for part in inputs))
    return placed


def detached(outputs: Outputs) -> Outputs:
    """Return outputs without their history."""
    if isinstance(outputs, Tensor):
        return outputs.detach()
    if isinstance(outputs, Continued):
        return Continued(*(value.detach() for value in outputs))
    return Maps(tuple(scale.detach() for scale in outputs.scales))


def all_finite(outputs: Outputs) -> bool:
    """Return whether no prediction is NaN or infinite."""
    if isinstance(outputs, Tensor):
        return bool(outputs.isfinite().all())
    tensors = (outputs.logits,) if isinstance(outputs, Continued) else outputs.scales
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def first_of(batch: Batch, number: int | None) -> Batch:
    """Return the first images, columns or graphs of a batch; None is all."""
    inputs, targets = batch
    if number is None:
        return batch
    if isinstance(inputs, Tensor):
        return inputs[:number], targets[:number]
    if isinstance(inputs, Graphs):
        nodes = int(inputs.sizes[:number].sum())
        edges = inputs.edge_index[:, inputs.edge_index[1] < nodes]
        return Graphs(inputs.x[:nodes], edges, inputs.sizes[:number]), targets[:nodes]
    state = None if inputs.state is None else inputs.state[:number]
    return inputs._replace(tokens=inputs.tokens[:, :number], state=state), targets[:, :number]


def rate_of(inputs: Inputs) -> float:
    """Return the factor on the learning rate of a step on these inputs."""
    return inputs.rate if isinstance(inputs, Chunk) else 1.0


def count_of(inputs: Inputs) -> int:
    """Return how many images, pairs, tokens or nodes inputs hold."""
    if isinstance(inputs, Graphs):
        return len(inputs.x)
    return len(inputs) if isinstance(inputs, Tensor) else inputs.tokens.numel()


def nbytes_of(inputs: Inputs) -> int:
    """Return the size of inputs in bytes."""
    if isinstance(inputs, Graphs):
        return sum(part.nbytes for part in inputs)
    return inputs.nbytes if isinstance(inputs, Tensor) else inputs.tokens.nbytes


class Streams:
    """The hidden states that streams of batches carry: the state after a batch is the one before the next.

    Only chunks of text carry any; every other kind of input passes unchanged, and nothing is kept.
    """

    def __init__(self) -> None:
        self._states: dict[str, Tensor] = {}

    def before(self, stream: str, inputs: Inputs) -> Inputs:
        """Return inputs with the state that the stream has reached; None, zeros, where it begins."""
        if not isinstance(inputs, Chunk):
            return inputs
        state = self._states.get(stream)
        # A restored state comes from the CPU.
        return inputs._replace(state=None if state is None else state.to(inputs.tokens.device))

    def after(self, stream: str, outputs: Outputs) -> None:
        """Keep the state after a batch, without its history."""
        if isinstance(outputs, Continued):
            self._states[stream] = outputs.state.detach()

    def begin(self, *streams: str) -> None:
        """Let streams begin anew, with a state of zeros."""
        for stream in streams:
            self._states.pop(stream, None)

    def state_dict(self) -> dict[str, Any]:
        """Return the states by stream, on the CPU."""
        return {stream: state.cpu() for stream, state in self._states.items()}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; states follow the inputs to their device."""
        self._states = dict(states)
