"""The ends of a language model: words in, scores of the next word out, and its locked dropout.

Source: Liu et al., DARTS (ICLR 2019), released code for recurrent cells, which follows Merity et al., AWD-LSTM (ICLR
2018): decoder and embedding share their weights (Press & Wolf 2017), and a mask holds for all tokens of a sequence (Gal
& Ghahramani 2016).
Deviation: rows of the embedding are dropped where they are read, not in a copy of the matrix; the numbers are the same.
Shapes: T tokens of a chunk, B columns of a text, V words, H hidden units.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.core import draws
from nas_lightning.core.batches import Continued
from nas_lightning.core.errors import ConfigError

SPREAD = 0.04
"""Initial weights are uniform in ±SPREAD."""


@dataclass(frozen=True)
class Dropouts:
    """Probabilities of the dropouts of a language model, each in [0, 1).

    Args:
        words: That a word is missing wherever it is read.
        inputs: Of the units of the embedded words.
        x: Of the units of the cell's input.
        hidden: Of the units of the hidden state and of the nodes in the cell.
        outputs: Of the units of the cell's output.

    Raises:
        ConfigError: A probability is not in [0, 1).
    """

    words: float = 0.0
    inputs: float = 0.0
    x: float = 0.0
    hidden: float = 0.0
    outputs: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < 1:
                raise ConfigError(
                    f"dropout.{field.name}={value}: must be at least 0 and less than 1; write search.dropout"
                    f".{field.name}=VALUE or evaluation.dropout.{field.name}=VALUE"
                )


class Masks(NamedTuple):
    """The masks of one sequence: 0, or 1 over the probability of being kept; None where nothing is dropped.

    Attributes:
        words: [V].
        inputs: [B, H].
        x: [B, H].
        hidden: [B, H].
        outputs: [B, H].
    """

    words: Tensor | None = None
    inputs: Tensor | None = None
    x: Tensor | None = None
    hidden: Tensor | None = None
    outputs: Tensor | None = None


def masked(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return values times a mask; the values themselves without one."""
    return values if mask is None else values * mask


class Words(nn.Module):
    """Embedding of words and decoder with the same weights.

    Args:
        num_words: V.
        hidden: H.
        dropout: Probabilities of the dropouts.

    Attributes:
        weight: Embedding, [V, H].
        bias: Of the decoder, [V].
    """

    def __init__(self, num_words: int, hidden: int, dropout: Dropouts) -> None:
        super().__init__()
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(num_words, hidden).uniform_(-SPREAD, SPREAD))
        self.bias = nn.Parameter(torch.zeros(num_words))

    def masks(self, columns: int) -> Masks:
        """Draw the masks of one sequence of B columns; none in evaluation mode.

        They are drawn by key, so the passes of one finite difference share them.
        """
        if not self.training:
            return Masks()
        words, hidden = self.weight.shape

        def draw(name: str, probability: float, shape: tuple[int, ...]) -> Tensor | None:
            if probability == 0:
                return None
            keep = 1.0 - probability
            mask = draws.bernoulli(shape, keep, self.weight, "dropout", name, per_sample=name != "words")
            return mask / keep

        return Masks(
            draw("words", self.dropout.words, (words,)),
            draw("inputs", self.dropout.inputs, (columns, hidden)),
            draw("x", self.dropout.x, (columns, hidden)),
            draw("hidden", self.dropout.hidden, (columns, hidden)),
            draw("outputs", self.dropout.outputs, (columns, hidden)),
        )

    def begin(self, columns: int, state: Tensor | None) -> Tensor:
        """Return the hidden state before a sequence, [B, H]: zeros where none is given."""
        return self.weight.new_zeros(columns, self.weight.shape[1]) if state is None else state

    def embed(self, tokens: Tensor, masks: Masks) -> Tensor:
        """Return the inputs of the cell, [T, B, H], before its own dropout, for tokens [T, B]."""
        read = F.embedding(tokens, self.weight)
        if masks.words is not None:
            read = read * masks.words[tokens][..., None]
        return masked(read, masks.inputs)

    def continued(self, hidden: Sequence[Tensor], masks: Masks) -> Continued:
        """Return the scores of the next words, and what losses need besides, for T outputs of the cell, each [B, H]."""
        outputs = torch.stack(list(hidden))
        dropped = masked(outputs, masks.outputs)
        return Continued(F.linear(dropped, self.weight, self.bias), hidden[-1], outputs, dropped)
