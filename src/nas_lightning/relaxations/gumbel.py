"""Gumbel-softmax relaxation: sampled mixing weights with a decreasing temperature (SNAS, GDAS).

Shapes: R rows and O options of a choice.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Mixing, offset_key
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.placed import placed
from nas_lightning.relaxations.masks import Logits, masked_log_softmax, masked_softmax

TRIES = 10
"""Attempts to draw finite noise."""


class Gumbel(Logits):
    """Samples p = softmax((log softmax(α) + G)/τ), G standard Gumbel noise: one sample per row, pass and cell type.

    Soft: the mixing weights are p. Hard: they are exactly one-hot, h = 1 at the largest p, which is option j with
    probability softmax(α)_j, and their gradient is that of p (straight through), in one of four forms:
        all        w = h − sg(p) + p: every option is computed, and logits learn from Σ_j ⟨dL/dy, o_j⟩·∇p_j;
        selected   only the selected option k is computed, and logits learn from ⟨dL/dy, o_k⟩·∇p_k (the paper's);
        released   the same, plus the sum of the other weights, which is 0, added to every element of the edge's
                   output: the others enter by Σ(dL/dy)·∇p_j instead of ⟨dL/dy, o_j⟩·∇p_j (released code).
        score      only option k is computed, and logits learn from ⟨dL/dy, o_k⟩·∇log softmax(α)_k, the score function
                   of the draw, at any temperature (DSNAS).
    The temperature decreases with the search epoch: τ(e) = start − (start − end)·e/(E − 1), or ·e/E, which would reach
    `end` one epoch after the last.

    Source, hard: Dong & Yang, GDAS (CVPR 2019), and its released code for NAS-Bench-201, τ from 10 to 0.1. Soft:
    Xie et al., SNAS (ICLR 2019), as in DrNAS' released code for NAS-Bench-201, τ from 10 to 1 by e/E. Edges are
    weighted, not sampled: choices of other kinds than `op` are soft also where operations are hard. Non-finite noise
    is redrawn, as released. Operations that are not sampled have no gradient, so SGD leaves them unchanged; in the
    released code weight decay and momentum keep changing them. Left out: SNAS' resource regulariser.

    Args:
        hard: Sample one option per row instead of a mixture.
        start: Temperature of the first epoch.
        end: Temperature at the end of the schedule.
        end_reached: End of the schedule: `in_last` (epoch, E − 1) or `after_last` (E).
        epochs: Total search epochs E; required where the temperature changes.
        gradient: Gradient of hard samples, `all`, `selected`, `released` or `score` as above.
        init_std: Standard deviation of the initial logits.
    """

    logits = True

    def __init__(
        self,
        hard: bool = True,
        start: Annotated[float, Field(gt=0)] = 10.0,
        end: Annotated[float, Field(gt=0)] = 0.1,
        epochs: Annotated[int, Field(ge=1)] | None = None,
        gradient: Literal["all", "selected", "released", "score"] = "selected",
        init_std: Annotated[float, Field(ge=0)] = 1e-3,
        end_reached: Literal["in_last", "after_last"] = "in_last",
    ) -> None:
        super().__init__(init_std)
        self.hard = hard
        self.start = start
        self.end = end
        self.epochs = epochs
        self.gradient = gradient
        self.end_reached = end_reached

    def temperature(self, epoch: int) -> float:
        """Return τ at a search epoch.

        Raises:
            ConfigError: `epochs` is None and the temperature changes.

        >>> gumbel = Gumbel(epochs=250)
        >>> gumbel.temperature(0), round(gumbel.temperature(249), 9)
        (10.0, 0.1)
        """
        if self.start == self.end:
            return self.start
        if self.epochs is None:
            raise ConfigError(
                f"{self.key}.epochs=null: the temperature needs the search epochs, a whole number from 1;"
                f" write {self.key}.epochs=50"
            )
        last = self.epochs - 1
        end = self.epochs if self.end_reached == "after_last" else max(1, last)
        return self.start - (self.start - self.end) * min(epoch, last) / end

    def metrics(self, epoch: int) -> dict[str, float]:
        """Return the temperature of the epoch."""
        return {"temperature": self.temperature(epoch)}

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return a sample by choice, each [R, O].

        With the gradient `released`, and only where gradients are recorded, also return "<choice>.offset" [R], which
        is added to every element of an edge's output; its value is 0.
        """
        tau = self.temperature(epoch)
        mixing: Mixing = {}
        for name, logits in arch.items():
            kept = self.mask(name, logits.device)
            # No log softmax: it subtracts a constant of the row, which softmax and argmax ignore.
            noisy = (logits + gumbel_like(logits, generator)) / tau
            p = masked_softmax(noisy, kept)
            if not self.hard or self.choices[name].kind != "op":
                mixing[name] = p
                continue
            selected = _one_hot_of_largest(noisy, kept)
            if self.gradient == "score":
                log_p = masked_log_softmax(logits, kept)
                # Weight 1 with the gradient of log p; -inf − (-inf) of closed options must not be added.
                mixing[name] = selected + torch.where(selected > 0, log_p - log_p.detach(), 0.0)
                continue
            slope = p - p.detach()  # exactly 0, with the gradient of p
            mixing[name] = selected + (slope if self.gradient == "all" else selected * slope)
            if self.gradient == "released" and p.requires_grad:
                mixing[offset_key(name)] = ((1 - selected) * slope).sum(dim=-1)
        return mixing

    def active(self, mixing: Mixing) -> Active | None:
        """Return the selected options, each boolean [R, O]; None where every option is computed, as with `mean`."""
        if not self.hard or self.gradient == "all":
            return None
        active: Active = {}
        for name, choice in self.choices.items():
            weights = mixing[name]
            # Not `> 0`: NaN counts as active, so that it reaches the loss.
            active[name] = ~(weights <= 0) if choice.kind == "op" else placed(self.kept[name], weights.device)
            if choice.kind == "op" and (active[name].sum(dim=-1) > 1).any():
                return None  # a mixture
        return active

    def mean(self, arch: Tensors) -> Mixing:
        """Return softmax(α) by choice, each [R, O]: the probabilities of the options."""
        return {name: masked_softmax(logits, self.mask(name, logits.device)) for name, logits in arch.items()}


def gumbel_like(logits: Tensor, generator: Generator | None) -> Tensor:
    """Return standard Gumbel noise of the shape and on the device of `logits`, in single precision or better.

    Draw on the device of `generator`; None uses torch's global generator of the logits' device.
    """
    device = logits.device if generator is None else generator.device
    dtype = torch.promote_types(logits.dtype, torch.float32)
    for _ in range(TRIES):
        noise = -torch.empty(logits.shape, dtype=dtype, device=device).exponential_(generator=generator).log()
        if noise.isfinite().all():
            break
    return noise.to(logits.device)


def _one_hot_of_largest(rows: Tensor, kept: Tensor | None) -> Tensor:
    """Return 1 at the largest kept entry of each row [R, O], at the first of equals; zeros where none is kept."""
    if kept is None:
        return torch.zeros_like(rows).scatter(-1, rows.argmax(dim=-1, keepdim=True), 1)
    largest = rows.masked_fill(~kept, -torch.inf).argmax(dim=-1, keepdim=True)
    return torch.zeros_like(rows).scatter(-1, largest, 1) * kept
