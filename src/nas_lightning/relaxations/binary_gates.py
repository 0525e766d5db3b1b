"""Binary gates: one sampled path, and the gradient of its gates (ProxylessNAS).

Shapes: R rows and O options of a choice.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Active, Mixing
from nas_lightning.core.placed import placed
from nas_lightning.relaxations.gumbel import gumbel_like
from nas_lightning.relaxations.masks import Logits, masked_softmax


class BinaryGates(Logits):
    """Samples one option of each row from p = softmax(α); its gate is 1, the others are 0.

    The weight step computes the sampled options alone. In the architecture step gates have gradients, which the logits
    take as if gates were probabilities: ∂L/∂α_i = Σ_j ∂L/∂g_j·p_j·(δ_ij − p_i) with ∂L/∂g_j = ⟨dL/dy, o_j⟩.
        two    two options of each row are drawn from p without replacement and computed, as if the row had no others:
               the p above is their softmax, by which one of them gets the gate. After the step both logits are shifted
               so that their probabilities have the same sum as before; the others keep theirs.
        full   all options are computed, and all logits learn.

    Source: Cai et al., ProxylessNAS (ICLR 2019), section 3.2, equations 3 and 4; released code, `MixedEdge`, modes
    `two` and `full`. Its default, `full_v2`, has the gradient of `full`, and computes the options without a gate in
    the backward pass to save memory, which is left out. In the code a row whose gate is at the zero operation does not
    learn in that step: `none_learns=false`. Edges are weighted, not sampled: choices of other kinds than `op` are the
    softmax. The shift is that of the logits that the optimizer has moved. So Adam must move none without a gradient,
    as released: no decay, and beta 0 for the first moment.

    Args:
        paths: Options that the architecture step computes in each row, `two` or `full`.
        none_learns: Whether a row learns where its gate is at `none`.
        init_std: Standard deviation of the initial logits.
    """

    logits = True

    def __init__(
        self,
        paths: Literal["two", "full"] = "two",
        none_learns: bool = True,
        init_std: Annotated[float, Field(ge=0)] = 1e-3,
    ) -> None:
        super().__init__(init_std)
        self.paths = paths
        self.none_learns = none_learns

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return the gates by choice, each [R, O], with the gradient of probabilities.

        An option that is computed although its gate is 0 weighs -0.0, which `active` can tell from 0.
        """
        mixing: Mixing = {}
        for name, logits in arch.items():
            kept = placed(self.kept[name], logits.device)
            if self.choices[name].kind != "op":
                mixing[name] = masked_softmax(logits, kept)
                continue
            involved = kept if self.paths == "full" else drawn(logits, kept, 2, generator)
            p = masked_softmax(logits, involved)
            gate = drawn(logits, involved, 1, generator)
            if not self.none_learns:
                at_none = (gate & placed(self.choices[name].where("none"), logits.device)).any(dim=-1, keepdim=True)
                p = torch.where(at_none, p.detach(), p)
            # Both are exact and have the gradient of p; the second is -0.0, as 0.0 - 0.0 is 0.0.
            open_, closed = 1 + (p - p.detach()), -(p.detach() - p)
            mixing[name] = torch.where(involved, torch.where(gate, open_, closed), 0.0)
        return mixing

    def in_weight_step(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return zeros and a one for the sampled option of each row, each [R, O], without gradient."""
        mixing: Mixing = {}
        for name, logits in arch.items():
            kept, values = placed(self.kept[name], logits.device), logits.detach()
            is_op = self.choices[name].kind == "op"
            mixing[name] = drawn(values, kept, 1, generator).to(values) if is_op else masked_softmax(values, kept)
        return mixing

    def active(self, mixing: Mixing) -> Active | None:
        """Return the options with a gate and those that learn, each boolean [R, O]; None for all, as with `mean`."""
        active: Active = {}
        for name, choice in self.choices.items():
            weights = mixing[name]
            if choice.kind != "op":
                active[name] = placed(self.kept[name], weights.device)
                continue
            if ((weights > 0).sum(dim=-1) > 1).any():
                return None  # a mixture
            # NaN counts as active, so that it reaches the loss.
            active[name] = (weights != 0) | torch.signbit(weights)
        return active

    def mean(self, arch: Tensors) -> Mixing:
        """Return softmax(α) by choice, each [R, O]: the probabilities of the options."""
        return {name: masked_softmax(logits, self.mask(name, logits.device)) for name, logits in arch.items()}

    def after_step(self, before: Mapping[str, Tensor], arch: Tensors) -> None:
        """Shift the logits that a step has moved so that their probabilities have the same sum as before the step."""
        if self.paths == "full":
            return
        for name, logits in arch.items():
            if self.choices[name].kind != "op":
                continue
            old, moved = before[name], logits != before[name]
            some = moved.any(dim=-1, keepdim=True)
            # Rows that did not move are summed in full, so that no sum is empty, and shifted by 0.
            counted = moved | ~some
            sums = [torch.logsumexp(x.masked_fill(~counted, -torch.inf), -1, keepdim=True) for x in (logits, old)]
            logits -= torch.where(moved, sums[0] - sums[1], 0.0)


def drawn(logits: Tensor, kept: Tensor, count: int, generator: Generator | None) -> Tensor:
    """Draw options of each row by their softmax without replacement, boolean [R, O].

    The largest of logits plus Gumbel noise are such a draw (Vieira 2014; Kool et al., ICML 2019).

    Args:
        logits: [R, O].
        kept: The options that take part, boolean [R, O].
        count: How many are drawn of each row; fewer where fewer take part.
        generator: The generator to draw from; None is torch's global one.
    """
    noisy = (logits.detach() + gumbel_like(logits, generator)).masked_fill(~kept, -torch.inf)
    largest = noisy.topk(min(count, noisy.shape[-1]), dim=-1).indices
    return torch.zeros_like(kept).scatter(-1, largest, True) & kept
