"""Dirichlet relaxation: the mixing weights of each row are a sample from the simplex (DrNAS).

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
from nas_lightning.relaxations.masks import Logits, masked_softmax

SMALLEST = 1e-4
"""Lower bound of the concentrations."""


def concentration(logits: Tensor) -> Tensor:
    """β = elu(α) + 1, that is 1 + α above 0 and e^α below, not less than `SMALLEST`; at least single precision.

    Written as an exponential, because elu(α) + 1 cancels: in single precision it is 0 below α = −17.

    >>> concentration(torch.tensor([-30.0, -1.0, 0.0, 2.0]))
    tensor([1.0000e-04, 3.6788e-01, 1.0000e+00, 3.0000e+00])
    """
    alpha = logits.to(torch.promote_types(logits.dtype, torch.float32))
    below = torch.where(alpha > 0, 0, alpha)  # no clamp: its gradient at 0 would be 0
    return torch.where(alpha > 0, 1 + alpha, below.exp()).clamp(min=SMALLEST)


class Dirichlet(Logits):
    """mixing = θ ~ Dir(β), one sample a row and pass, shared by all cells of a type; β = elu(α) + 1.

    The gradient is that of the sample's path (implicit reparameterisation), without temperature or bias. Options
    that do not take part are not sampled: the others are Dirichlet again, with the same concentrations.

    The anchor holds β near 1, the uniform distribution on the simplex, which keeps the curvature in check:
        l2     no term here: it is search.arch.weight_decay, which acts on α as in the released code (for α < 0 that
               penalises log β, not β − 1);
        kl     strength·Σ_rows KL(Dir(β) ‖ Dir(1)) over the options that take part, added to the architecture loss
               alone; it goes with search.arch.weight_decay=0;
        none   nothing; set search.arch.weight_decay=0 as well.

    Genotypes are derived from softmax(α), as in the released code: its order of options is that of the mean, its order
    of edges is not. A choice of another kind than `op` (edge weights) is drawn, too.

    Source: Chen et al., DrNAS (ICLR 2021), and its released code. Unlike there, validation takes the mean of the
    distribution instead of one sample a batch, and the concentrations have a lower bound, below which
    the gradient of α is 0: without it they become exactly 0. Where all of a row are that small, the sampler returns
    equal weights more often than it should. Samples are drawn on the CPU in double precision, whatever the device.

    Args:
        init_std: Standard deviation of the first α.
        anchor: `l2`, `kl` or `none`, as said above.
        strength: λ of the anchor `kl`.
    """

    def __init__(
        self,
        init_std: Annotated[float, Field(ge=0)] = 1e-3,
        anchor: Literal["l2", "kl", "none"] = "l2",
        strength: Annotated[float, Field(ge=0)] = 1e-3,
    ) -> None:
        super().__init__(init_std)
        self.anchor = anchor
        self.strength = strength

    def __call__(self, arch: Tensors, epoch: int = 0, generator: Generator | None = None) -> Mixing:
        """A sample by choice, each [R, O]: at least the smallest normal number for what takes part, otherwise 0."""
        with _drawing_from(generator):
            return {name: self._sample(name, logits) for name, logits in arch.items()}

    def _sample(self, name: str, logits: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False), torch.autocast("cpu", enabled=False):
            beta, kept = self._concentration(name, logits)
            sample = _sample_rows(beta.cpu().double(), self.kept[name]).to(beta)
            # Small ones may have vanished in single precision.
            return _over_its_sum(torch.where(kept, sample.clamp(min=torch.finfo(beta.dtype).tiny), 0))

    def mean(self, arch: Tensors) -> Mixing:
        """β / Σβ by choice, each [R, O], over the options that take part; can be differentiated twice."""
        mixing: Mixing = {}
        for name, logits in arch.items():
            beta, kept = self._concentration(name, logits)
            mixing[name] = _over_its_sum(torch.where(kept, beta, 0))
        return mixing

    def strengths(self, arch: Tensors) -> Mixing:
        """softmax(α) by choice, each [R, O], over the options that take part: what genotypes are derived from."""
        return {name: masked_softmax(logits, self.mask(name, logits.device)) for name, logits in arch.items()}

    def penalty(self, arch: Tensors) -> Tensor | None:
        """The anchor's term where it is `kl`, a scalar; otherwise None."""
        if self.anchor != "kl":
            return None
        rows = [_divergence_from_uniform(*self._concentration(name, logits)) for name, logits in arch.items()]
        return self.strength * torch.stack([divergence.sum() for divergence in rows]).sum()

    def _concentration(self, name: str, logits: Tensor) -> tuple[Tensor, Tensor]:
        """β [R, O], 1 without gradient for what does not take part, and what does, boolean [R, O]."""
        kept = self.kept[name].to(logits.device)
        return concentration(torch.where(kept, logits, 0)), kept


def _over_its_sum(rows: Tensor) -> Tensor:
    """Each row [R, O] divided by its sum; rows of zeros stay zeros."""
    total = rows.sum(dim=-1, keepdim=True)
    return rows / torch.where(total == 0, 1, total)


def _sample_rows(beta: Tensor, kept: Tensor) -> Tensor:
    """A sample of each row [R, O] of concentrations on the CPU, over its kept options; 0 for the others."""
    # Of a search that diverged: nan goes on to who reports it, the sampler does not see it.
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
        # One option: exactly 1, with a gradient of exactly 0.
        drawn = torch.distributions.Dirichlet(some).rsample() if count > 1 else torch.softmax(some, dim=-1)
        sample = sample.index_put((rows, columns), drawn)
    return torch.where(finite | ~kept, sample, torch.nan)


def _divergence_from_uniform(beta: Tensor, kept: Tensor) -> Tensor:
    """KL(Dir(β) ‖ Dir(1)) of each row over its k kept options, [R].

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
def _drawing_from(generator: Generator | None) -> Iterator[None]:
    """Within the block the CPU's global generator continues from a number drawn from `generator`.

    Afterwards it is as it was. torch's distributions take no generator of their own. Nothing happens for None.
    """
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators too
        yield
