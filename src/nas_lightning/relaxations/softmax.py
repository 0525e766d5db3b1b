"""Softmax relaxation: each row of logits becomes weights on the simplex (Liu et al., DARTS, ICLR 2019, eq. 2)."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.protocols import Tensors
from nas_lightning.spaces.choices import Active, Choice, Mixing


class Softmax:
    """mixing = softmax(arch) over the options of each row.

    The logits start as small Gaussian noise, as in the released code (the paper says zero, which leaves ties).

    Args:
        init_std: Standard deviation of the first logits.
    """

    def __init__(self, init_std: Annotated[float, Field(ge=0)] = 1e-3) -> None:
        self.init_std = init_std
        self._masks: dict[str, Tensor] = {}

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """Logits init_std·N(0, 1) by choice, each [R, O]."""
        self._masks = {name: choice.mask for name, choice in choices.items() if not choice.mask.all()}
        return {
            name: self.init_std * torch.randn(choice.num_rows, choice.num_options, generator=generator)
            for name, choice in choices.items()
        }

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Weights by choice, each [R, O]; options that a short row does not have get exactly 0."""
        mixing: Mixing = {}
        for name, logits in arch.items():
            if name in self._masks:
                logits = logits.masked_fill(~self._masks[name].to(logits.device), -torch.inf)
            mixing[name] = torch.softmax(logits, dim=-1)
        return mixing

    def active(self, mixing: Mixing) -> Active | None:
        """None: every option is computed."""
        return None

    def mean(self, arch: Tensors) -> Mixing:
        """The same weights: nothing is sampled."""
        return self(arch)

    def penalty(self, arch: Tensors) -> Tensor | None:
        """None."""
        return None
