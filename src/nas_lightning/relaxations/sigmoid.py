"""Sigmoid relaxation: every operation is weighted independently of the others (Chu et al., FairDARTS, ECCV 2020)."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.placed import placed
from nas_lightning.relaxations.masks import Logits, masked_softmax


class Sigmoid(Logits):
    """Computes mixing = σ(α) for operations, with the zero-one loss that drives these gates to 0 or 1.

    The architecture loss gains −w·mean((σ(α) − ½)²) over the gates of all choices of operations at once: 0 at α = 0,
    where it has no slope either, and −w/4 where every gate is 0 or 1. Other choices (edges, inputs, outputs) compete by
    a softmax: nothing in the paper switches them.

    Source: the paper, equations 5 and 7, and its released code, which offers −w·mean|σ(α) − ½| as well.

    Args:
        init_std: Standard deviation of the initial logits; 0 starts all gates at ½, as published.
        zero_one: Factor w of the zero-one loss.
        distance: `l2` (published) or `l1` of the gates from ½.
    """

    simplex = False

    def __init__(
        self,
        init_std: Annotated[float, Field(ge=0)] = 0.0,
        zero_one: Annotated[float, Field(ge=0)] = 10.0,
        distance: Literal["l2", "l1"] = "l2",
    ) -> None:
        super().__init__(init_std)
        self.zero_one = zero_one
        self.distance = distance

    def init(self, choices: Mapping[str, Choice], generator: Generator | None = None) -> Tensors:
        """Return logits init_std·N(0, 1) by choice, each [R, O]; without a sign at 0. Forget an earlier restriction."""
        return {name: logits + 0.0 for name, logits in super().init(choices, generator).items()}

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return weights by choice, each [R, O]; exactly 0 for options that do not take part."""
        mixing: Mixing = {}
        for name, logits in arch.items():
            kept = self.mask(name, logits.device)
            if self.choices[name].kind != "op":
                mixing[name] = masked_softmax(logits, kept)
                continue
            gates = torch.sigmoid(logits)
            mixing[name] = gates if kept is None else gates.masked_fill(~kept, 0)
        return mixing

    def mean(self, arch: Tensors) -> Mixing:
        """Return the same weights: nothing is sampled."""
        return self(arch)

    def penalty(self, arch: Tensors) -> Tensor | None:
        """Return the zero-one loss over the gates that take part, a scalar; None where its factor is 0."""
        if self.zero_one == 0:
            return None
        total, number = [], 0
        for name, choice in self.choices.items():
            if choice.kind == "op":
                apart = torch.sigmoid(arch[name]) - 0.5
                distances = apart.square() if self.distance == "l2" else apart.abs()
                # Masked by a product: the number of gates is known on the host, and no index waits for the device.
                total.append((distances * placed(self.kept[name], distances.device)).sum())
                number += int(self.kept[name].sum())
        return -self.zero_one * torch.stack(total).sum() / max(1, number)
