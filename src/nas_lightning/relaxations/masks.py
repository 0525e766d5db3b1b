"""Softmax over the options that take part, and relaxations whose logits start as small noise.

Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Choice
from nas_lightning.core.relaxation import Relaxation


def masked_softmax(logits: Tensor, kept: Tensor | None) -> Tensor:
    """Return the softmax over the kept options of each row.

    Args:
        logits: [R, O]; entries outside of `kept` affect neither the result nor its gradient.
        kept: Boolean [R, O]; None keeps everything.

    Returns:
        Weights [R, O], exactly 0 outside of `kept`; a row without kept options is all zeros, also in its gradient.

    >>> kept = torch.tensor([[True, True, False], [False, False, False]])
    >>> masked_softmax(torch.zeros(2, 3), kept)
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    if kept is None:
        return torch.softmax(logits, dim=-1)
    # A row of minus infinities gives NaN: rows without kept options are filled with 0 and masked afterwards.
    filling = torch.where(kept.any(dim=-1, keepdim=True), -torch.inf, 0.0).to(logits.dtype)
    return torch.softmax(torch.where(kept, logits, filling), dim=-1).masked_fill(~kept, 0)


def masked_log_softmax(logits: Tensor, kept: Tensor | None) -> Tensor:
    """Return the logarithm of `masked_softmax`, [R, O]: minus infinity outside of `kept`, but in rows without any."""
    if kept is None:
        return torch.log_softmax(logits, dim=-1)
    filling = torch.where(kept.any(dim=-1, keepdim=True), -torch.inf, 0.0).to(logits.dtype)
    return torch.log_softmax(torch.where(kept, logits, filling), dim=-1)


class Logits(Relaxation):
    """Initialises the architecture parameters as small Gaussian noise.

    Args:
        init_std: Standard deviation of the initial parameters.
    """

    def __init__(self, init_std: float) -> None:
        super().__init__()
        self.init_std = init_std

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """Return parameters init_std·N(0, 1) by choice, each [R, O]; forget an earlier restriction."""
        self.remember(choices)
        return {
            name: self.init_std * torch.randn(choice.num_rows, choice.num_options, generator=generator)
            for name, choice in choices.items()
        }
