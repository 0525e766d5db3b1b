"""What relaxations share: a softmax over the options that take part, and logits that start as small noise.

Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Choice
from nas_lightning.core.relaxation import Relaxation


def masked_softmax(logits: Tensor, kept: Tensor | None) -> Tensor:
    """Softmax over the kept options of each row.

    Args:
        logits: [R, O]; whatever stands outside of `kept` enters neither the result nor its gradient.
        kept: Boolean [R, O]; None keeps everything.

    Returns:
        Weights [R, O], exactly 0 outside of `kept`; a row of which nothing is kept is all zeros, also in its gradient.

    >>> kept = torch.tensor([[True, True, False], [False, False, False]])
    >>> masked_softmax(torch.zeros(2, 3), kept)
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    if kept is None:
        return torch.softmax(logits, dim=-1)
    # A row of minus infinities would be nan: where nothing is kept, the softmax is of zeros and then taken out.
    filling = torch.where(kept.any(dim=-1, keepdim=True), -torch.inf, 0.0).to(logits.dtype)
    return torch.softmax(torch.where(kept, logits, filling), dim=-1).masked_fill(~kept, 0)


class Logits(Relaxation):
    """Architecture parameters that start as small Gaussian noise.

    Args:
        init_std: Standard deviation of the first parameters.
    """

    def __init__(self, init_std: float) -> None:
        super().__init__()
        self.init_std = init_std

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """Parameters init_std·N(0, 1) by choice, each [R, O]; an earlier restriction is forgotten."""
        self.remember(choices)
        return {
            name: self.init_std * torch.randn(choice.num_rows, choice.num_options, generator=generator)
            for name, choice in choices.items()
        }
