"""Language modelling: predict the next token; the perplexity is reported.

Shapes: T tokens of a chunk, B columns, V words, H hidden units; see `core.batches.Continued`.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torchmetrics import Metric

from nas_lightning.core.batches import Continued
from nas_lightning.core.objective import Direction, Objective


class Perplexity(Metric):
    """The exponential of the mean negative log-likelihood over all tokens, which are summed, also over processes."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    nll: Tensor
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nll", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: Continued, targets: Tensor) -> None:
        """Add the tokens of a chunk, targets [T, B]."""
        # In float64, since hundreds of thousands of tokens are summed.
        self.nll += token_nll(outputs.logits.detach(), targets).double().sum()
        self.tokens += targets.numel()

    def compute(self) -> Tensor:
        """Return the perplexity; infinity where it exceeds the range of numbers."""
        return torch.exp(self.nll / self.tokens)


class LanguageModel(Objective):
    """Minimise the mean negative log-likelihood of the next token; report the perplexity.

    Steps on weights also descend two penalties of the outputs of the cell, published with weight-dropped LSTMs:
    how far they move from one token to the next, before dropout, and how large they are, after it. Architecture steps,
    validation and curvature take the likelihood alone, as the released code of DARTS does.

    Args:
        temporal: Weight of mean((h_t - h_{t-1})²) of the undropped outputs within a chunk (1e-3 as published).
        activation: Weight of mean(h²) of the dropped outputs (0 in the released scripts).
    """

    metric = "perplexity"
    unit = ""
    direction: Direction = "min"
    has_classes = False
    inputs = "text"

    def __init__(
        self,
        temporal: Annotated[float, Field(ge=0)] = 1e-3,
        activation: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        self.temporal = temporal
        self.activation = activation

    def loss(self, outputs: Any, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean negative log-likelihood, in nats, of targets [T, B] under `Continued` outputs."""
        return token_nll(outputs.logits, targets).mean()

    def training_loss(self, outputs: Any, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return `loss` with the penalties; a chunk of one token has no change to penalise."""
        loss = self.loss(outputs, targets)
        if self.temporal and len(outputs.hidden) > 1:
            loss = loss + self.temporal * outputs.hidden.diff(dim=0).square().mean()
        if self.activation:
            loss = loss + self.activation * outputs.dropped.square().mean()
        return loss

    def weight(self, targets: Tensor) -> int:
        """Return the number of predicted tokens."""
        return targets.numel()

    def new_metric(self) -> Metric:
        """Return a fresh metric of chunks and their targets."""
        return Perplexity()


def token_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of each token in nats, [T·B], for logits [T, B, V] and targets [T, B].

    At least in float32: in bfloat16, the logarithm of a probability has three digits.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
