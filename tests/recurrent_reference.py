"""Recurrent cells and their language model in slow loops over steps, nodes, sources and operations, from the equations.

Nothing here is shared between steps or nodes, and the embedding is dropped as a copy of the matrix, as released.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from cases import seeded
from nas_lightning.core.batches import Chunk
from nas_lightning.recurrent import RecurrentSpace
from nas_lightning.recurrent.words import Dropouts, Masks

OPERATIONS = ("none", "tanh", "relu", "sigmoid", "identity")
DROPOUTS = Dropouts(words=0.3, inputs=0.2, x=0.4, hidden=0.25, outputs=0.5)
V, H, T, B = 11, 6, 5, 3
APPLIED = {
    "tanh": torch.tanh,
    "relu": lambda u: u.clamp(min=0),
    "sigmoid": lambda u: 1 / (1 + (-u).exp()),
    "identity": lambda u: u,
}


def recurrent_space(operations: tuple[str, ...] = OPERATIONS, num_nodes: int = 8) -> RecurrentSpace:
    return RecurrentSpace("recurrent", list(operations), num_nodes)


def grown(model: Any, seed: int = 0) -> Any:
    """The model in float64 with weights so large that gates and activations bend."""
    rng = seeded(seed)
    with torch.no_grad():
        for weight in model.double().parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng, dtype=torch.float64) * 0.7)
    return model


def tiny_recurrent_supernet(seed: int = 0, dropout: Dropouts | None = None, **changes: Any) -> Any:
    return grown(recurrent_space().supernet(V, H, dropout, **changes), seed)


def chunk(seed: int = 0, length: int = T, columns: int = B) -> Chunk:
    """Random tokens and a random state."""
    rng = seeded(seed)
    tokens = torch.randint(V, (length, columns), generator=rng)
    return Chunk(tokens, torch.randn(columns, H, generator=rng, dtype=torch.float64))


def some_masks(seed: int = 0, columns: int = B) -> Masks:
    """Masks of zeros and twos."""
    rng = seeded(seed)

    def mask(*shape: int) -> Tensor:
        return 2.0 * torch.randint(2, shape, generator=rng).double()

    return Masks(mask(V), *(mask(columns, H) for _ in range(4)))


class Norm:
    """Batch normalisation by its formula, with running statistics of its own."""

    def __init__(self, training: bool, mean: Tensor, variance: Tensor, momentum: float = 0.1) -> None:
        self.training, self.mean, self.variance, self.momentum = training, mean.clone(), variance.clone(), momentum
        self.calls = 0

    def __call__(self, s: Tensor) -> Tensor:
        self.calls += 1
        mean, variance = self.mean, self.variance
        if self.training:
            mean = s.mean(0)
            variance = ((s - mean) ** 2).mean(0)
            n = len(s)
            self.mean = (1 - self.momentum) * self.mean + self.momentum * mean.detach()
            self.variance = (1 - self.momentum) * self.variance + self.momentum * variance.detach() * n / (n - 1)
        return (s - mean) / (variance + 1e-5).sqrt()


class Read(NamedTuple):
    logits: Tensor
    state: Tensor
    hidden: Tensor
    dropped: Tensor


def gated(before: Tensor, product: Tensor, op: str) -> Tensor:
    c, u = product[:, :H], product[:, H:]
    return before + 1 / (1 + (-c).exp()) * (APPLIED[op](u) - before)


def read(model: Any, inputs: Chunk, cell: Any, masks: Masks) -> Read:
    """Run a language model whose cell is `cell(x, h, weights by name, masks) → h`."""
    weights = dict(model.named_parameters())
    one = torch.ones((), dtype=torch.float64)
    words, *units = (one if mask is None else mask for mask in masks)
    embedding = weights["words.weight"] * (words[:, None] if words.dim() else words)
    h = torch.zeros(inputs.tokens.shape[1], H, dtype=torch.float64) if inputs.state is None else inputs.state
    hidden = []
    for row in inputs.tokens:
        h = cell(embedding[row] * units[0] * units[1], h, weights, units[2])
        hidden.append(h)
    outputs = torch.stack(hidden)
    dropped = outputs * units[3]
    logits = dropped @ weights["words.weight"].T + weights["words.bias"]
    return Read(logits, h, outputs, dropped)


def mixed_cell(
    mixing: Tensor,
    norm: Any,
    operations: tuple[str, ...] = OPERATIONS,
    nodes: int = 8,
    offsets: Tensor | None = None,
) -> Any:
    """The searched cell for mixing weights [R, O] and what is added to each edge, [R]."""

    def cell(x: Tensor, h: Tensor, weights: dict[str, Tensor], mask: Tensor) -> Tensor:
        states = [norm(gated(h, torch.cat([x, h * mask], dim=1) @ weights["cell.first"], "tanh"))]
        row = 0
        for node in range(1, nodes + 1):
            total = torch.zeros_like(h)
            for source in range(node):
                product = (states[source] * mask) @ weights[f"cell.weights.{node - 1}"]
                for option, op in enumerate(operations):
                    if op != "none":
                        total = total + mixing[row, option] * gated(states[source], product, op)
                if offsets is not None:
                    total = total + offsets[row]
                row += 1
            states.append(norm(total))
        return sum(states[1:]) / nodes

    return cell


def discrete_cell(edges: Any, concat: Any) -> Any:
    """The cell of a genotype."""

    def cell(x: Tensor, h: Tensor, weights: dict[str, Tensor], mask: Tensor) -> Tensor:
        states = {0: gated(h, torch.cat([x, h * mask], dim=1) @ weights["cell.first"], "tanh")}
        for node, op, source in edges:
            product = (states[source] * mask) @ weights[f"cell.weights.{node - 1}"]
            states[node] = gated(states[source], product, op)
        return sum(states[node] for node in concat) / len(concat)

    return cell
