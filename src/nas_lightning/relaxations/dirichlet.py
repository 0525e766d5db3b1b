"""Dirichlet relaxation: the mixing weights of each row are sampled from the simplex (DrNAS).

Shapes: R rows and O options of a choice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Mixing
from nas_lightning.core.placed import placed
from nas_lightning.relaxations.masks import Logits, masked_softmax

SMALLEST = 1e-4
"""Lower bound of the concentrations."""


def concentration(logits: Tensor) -> Tensor:
    """Return β = elu(α) + 1, that is 1 + α above 0 and e^α below, at least `SMALLEST`; in single precision or better.

    Computed as an exponential because elu(α) + 1 cancels: in single precision it is 0 below α = −17.

    >>> concentration(torch.tensor([-30.0, -1.0, 0.0, 2.0]))
    tensor([1.0000e-04, 3.6788e-01, 1.0000e+00, 3.0000e+00])
    """
    alpha = logits.to(torch.promote_types(logits.dtype, torch.float32))
    below = torch.where(alpha > 0, 0, alpha)  # no clamp: its gradient at 0 is 0
    return torch.where(alpha > 0, 1 + alpha, below.exp()).clamp(min=SMALLEST)


class Dirichlet(Logits):
    """Samples mixing = θ ~ Dir(β), β = elu(α) + 1, once for each row and pass, shared by all cells of a type.

    The gradient is pathwise (implicit reparameterisation): unbiased, without a temperature. Options that do not take
    part are not sampled; the others are Dirichlet with the same concentrations.

    The anchor keeps β near 1, the uniform distribution on the simplex, which limits the curvature:
        l2     no term here: it is search.arch.weight_decay, which acts on α as in the released code (for α < 0 that
               penalises log β, not β − 1);
        kl     strength·Σ_rows KL(Dir(β) ‖ Dir(1)) over the options of `anchor_over`, added to the architecture loss
               alone; use it with search.arch.weight_decay=0;
        none   no term; set search.arch.weight_decay=0 as well.

    Genotypes are derived from softmax(α), as in the released code: its order of options is that of the mean, its order
    of edges is not. Choices of other kinds than `op` (edge weights) are sampled, too.

    Source: Chen et al., DrNAS (ICLR 2021), and its released code. Unlike there, validation uses the mean of the
    distribution instead of one sample per batch, and the concentrations have a lower bound, below which
    the gradient of α is 0: without it they become exactly 0. Where all of a row are that small, the sampler returns
    equal weights more often than it should. Samples are drawn on the CPU in double precision for every device.

    Args:
        init_std: Standard deviation of the initial α.
        anchor: `l2`, `kl` or `none`, as above.
        strength: λ of the anchor `kl`.
        anchor_over: Options that the anchor `kl` compares: `kept`, those that take part, or `all` of the space, as in
            the released code, which sets α of dropped ones to 0 (β = 1): they raise Σβ, and with it the slope.
    """

    def __init__(
        self,
        init_std: Annotated[float, Field(ge=0)] = 1e-3,
        anchor: Literal["l2", "kl", "none"] = "l2",
        strength: Annotated[float, Field(ge=0)] = 1e-3,
        anchor_over: Literal["kept", "all"] = "kept",
    ) -> None:
        super().__init__(init_std)
        self.anchor = anchor
        self.strength = strength
        self.anchor_over = anchor_over

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """Return a sample by choice, each [R, O]: options that take part are positive (normal numbers), others 0."""
        with _seeded_from(generator):
            return {name: self._sample(name, logits) for name, logits in arch.items()}

    def _sample(self, name: str, logits: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False), torch.autocast("cpu", enabled=False):
            beta, kept = self._concentration(name, logits)
            sample = _sample_rows(beta.cpu().double(), self.kept[name]).to(beta)
            # Small samples underflow in single precision; 0 is reserved for options that do not take part.
            return _normalised(torch.where(kept, sample.clamp(min=torch.finfo(beta.dtype).tiny), 0))

    def mean(self, arch: Tensors) -> Mixing:
        """Return β / Σβ by choice, each [R, O], over the options that take part; twice differentiable."""
        mixing: Mixing = {}
        for name, logits in arch.items():
            beta, kept = self._concentration(name, logits)
            mixing[name] = _normalised(torch.where(kept, beta, 0))
        return mixing

    def strengths(self, arch: Tensors) -> Mixing:
        """Return softmax(α) by choice, each [R, O], over the options that take part, to derive genotypes from."""
        return {name: masked_softmax(logits, self.mask(name, logits.device)) for name, logits in arch.items()}

    def penalty(self, arch: Tensors) -> Tensor | None:
        """Return the anchor term `kl`, a scalar; None for other anchors."""
        if self.anchor != "kl":
            return None
        rows = [self._divergence(name, logits) for name, logits in arch.items()]
        return self.strength * torch.stack([divergence.sum() for divergence in rows]).sum()

    def _divergence(self, name: str, logits: Tensor) -> Tensor:
        """Return the anchor `kl` of each row of a choice, [R]."""
        beta, kept = self._concentration(name, logits)
        if self.anchor_over == "kept":
            return _divergence_from_uniform(beta, kept)
        return _divergence_from_uniform(beta, placed(self.choices[name].mask, logits.device))

    def _concentration(self, name: str, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return β [R, O], 1 without gradient for options that do not take part, and the boolean mask [R, O]."""
        kept = placed(self.kept[name], logits.device)
        return concentration(torch.where(kept, logits, 0)), kept


def _normalised(rows: Tensor) -> Tensor:
    """Divide each row [R, O] by its sum; rows of zeros stay zeros."""
    total = rows.sum(dim=-1, keepdim=True)
    return rows / torch.where(total == 0, 1, total)


def _sample_rows(beta: Tensor, kept: Tensor) -> Tensor:
    """Sample each row [R, O] of concentrations on the CPU over its kept options; 0 for the others."""
    # A diverged search: NaN bypasses the sampler, which would raise, and reaches the guard that reports it.
    finite = beta.isfinite().all(dim=-1, keepdim=True)
    usable = torch.where(finite, beta, 1)
    sample = torch.zeros_like(beta)
    counts = kept.sum(dim=-1)
    for count in counts.unique().tolist():
        if count == 0:
            continue
        rows = (counts == count).nonzero()  # [n, 1]
        columns = kept[rows[:, 0]].nonzero()[:, 1].view(-1, count)
        some = usable[rows, columns]
        # A single option: exactly 1, with a gradient of exactly 0; the softmax has both.
        drawn = torch.distributions.Dirichlet(some).rsample() if count > 1 else torch.softmax(some, dim=-1)
        sample = sample.index_put((rows, columns), drawn)
    return torch.where(finite | ~kept, sample, torch.nan)


def _divergence_from_uniform(beta: Tensor, kept: Tensor) -> Tensor:
    """Return KL(Dir(β) ‖ Dir(1)) of each row over its k kept options, [R].

    lnΓ(Σβ) − Σ lnΓ(β) − lnΓ(k) + Σ (β − 1)(ψ(β) − ψ(Σβ))

    Args:
        beta: Concentrations [R, O], 1 for options that are not kept: their terms are 0.
        kept: Boolean [R, O]; a row with none gets 0.
    """
    some = kept.any(dim=-1)
    count = torch.where(some, kept.sum(dim=-1), 1).to(beta)
    total = torch.where(some, torch.where(kept, beta, 0).sum(dim=-1), 1)
    slopes = (beta - 1) * (torch.digamma(beta) - torch.digamma(total)[..., None])
    return torch.lgamma(total) - torch.lgamma(beta).sum(dim=-1) - torch.lgamma(count) + slopes.sum(dim=-1)


@contextmanager
def _seeded_from(generator: Generator | None) -> Iterator[None]:
    """Seed the CPU's global generator from `generator` within the block, and restore it afterwards.

    torch's distributions accept no generator. None leaves the global generator as it is.
    """
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators too
        yield
