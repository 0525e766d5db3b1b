"""Noise on the outputs of the candidate operations (NoisyDARTS)."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from nas_lightning.core import draws
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.schedules import cosine
from nas_lightning.core.space import EdgeInfo, SearchSpace
from nas_lightning.regularizers.drop_path import known_epochs


def require_skip_connect(space: SearchSpace, part: str, instead: str) -> None:
    """Refuse a space in which a part that acts on skip connections would do nothing.

    Args:
        space: The space.
        part: Key of the part in the configuration.
        instead: What to add in its place.

    Raises:
        ConfigError: No edge offers skip_connect; `instead` says what to use.
    """
    choices = [choice for choice in space.choices.values() if choice.kind == "op"]
    if not any("skip_connect" in row for choice in choices for row in choice.options):
        raise ConfigError(
            f"{part}: no edge of space={space.name} offers skip_connect, so it would do nothing; use ~{part} {instead}"
        )


class Noise(Regularizer, nn.Module):
    """Fresh noise on operation outputs in training mode, in the weight step and in the architecture step.

    Additive: y + d·(mean + n), with n elementwise
        gaussian          std·sg[std(y)]·N(0, 1): relative to the deviation of the whole tensor y (unbiased);
        uniform           U(−a, a), a = √(3·std): absolute, and std is in truth its variance (as released);
        uniform_matched   U(−a, a), a = √3·std·sg[std(y)]: the deviation that Gaussian noise has.
    Multiplicative: y·(1 + d·(ξ − 1)), ξ ~ N(mean, std) elementwise, absolute.
    sg stops the gradient; the decay d is 1, or ½(1 + cos(πe/E)). The operation `none` stays zero.

    Source: Chu et al., NoisyDARTS, and its released code. Where they differ: noise stands after the operation (as
    released; the paper's eq. 7 has it before, which is the same for the identity), and its deviation is relative
    (as released; the paper reads as absolute). Noise on every operation (NFA) is not in the released code. Left out:
    a decay of the whole multiplicative product, which takes the skip connections to zero by the end (released
    code), and its fixed 50 epochs of decay. The learnable deviation has no published details; this is our reading.

    Args:
        operations: `skip_connect` (OFS, the default of the paper) or `all` (NFA, for spaces without skip_connect).
        std: Strength of the noise as said above; the initial one where it is learnable.
        mean: Mean, absolute; None is the unbiased one, 0 for additive and 1 for multiplicative noise.
        distribution: Of additive noise, as said above; multiplicative noise is Gaussian.
        form: `additive` or `multiplicative`.
        decay: Let the noise fade, the mean with it.
        epochs: Search epochs E in all; needed by the decay.
        learnable: One λ = softplus(ρ₀ + ρ) for each row of a choice takes the place of `std`, at which it starts. It
            learns with the weights, whose decay pulls ρ towards 0 and so λ towards `std`.

    Attributes:
        rho: ρ by choice, each [R]; empty unless learnable. Made by `build`.

    Raises:
        ConfigError: Uniform multiplicative noise, or a learnable strength that starts at 0.
    """

    key = "regularizer.skip_noise"
    adjustable: ClassVar[dict[str, float]] = {"std": math.inf}

    def __init__(
        self,
        operations: Literal["skip_connect", "all"] = "skip_connect",
        std: Annotated[float, Field(ge=0)] = 0.2,
        mean: float | None = None,
        distribution: Literal["gaussian", "uniform", "uniform_matched"] = "gaussian",
        form: Literal["additive", "multiplicative"] = "additive",
        decay: bool = False,
        epochs: Annotated[int, Field(ge=1)] | None = None,
        learnable: bool = False,
    ) -> None:
        super().__init__()
        key = self.key
        if form == "multiplicative" and distribution != "gaussian":
            raise ConfigError(
                f"{key}.distribution={distribution}: multiplicative noise is gaussian;"
                f" write {key}.distribution=gaussian or {key}.form=additive"
            )
        if learnable and std == 0:
            raise ConfigError(f"{key}.std=0: a learnable strength starts above 0; write {key}.std=0.2")
        self.operations = operations
        self.std = std
        self.mean = (0.0 if form == "additive" else 1.0) if mean is None else mean
        self.distribution = distribution
        self.form = form
        self.decay = decay
        self.epochs = epochs
        self.learnable = learnable
        self.rho = nn.ParameterDict()
        self._rows: dict[str, list[int]] = {}
        self._remaining = 1.0
        self._start = 0.0

    def _strength(self, choice: str) -> Tensor:
        """λ of the rows of a choice, [R]."""
        return softplus(self._start + self.rho[choice])

    def _is_noisy(self, op: str) -> bool:
        return op == "skip_connect" if self.operations == "skip_connect" else op != "none"

    def acts_on(self, op: str) -> bool:
        """In training, on the operations that are noisy."""
        return self.training and self._is_noisy(op)

    def build(self, space: SearchSpace) -> SearchSpace:
        """The same space; makes the learnable parameters of its choices.

        Raises:
            ConfigError: Noise on skip connections in a space that has none.
        """
        if self.operations == "skip_connect":
            instead = "+regularizer=op_noise (noise on every operation), or method=noisy_darts_nfa"
            require_skip_connect(space, self.key, instead)
        if self.learnable:
            self._start = self.std + math.log(-math.expm1(-self.std))  # softplus of this is std
            for name, choice in space.choices.items():
                rows = [row for row, options in enumerate(choice.options) if any(map(self._is_noisy, options))]
                if choice.kind == "op" and rows:
                    self._rows[name] = rows
                    self.rho[name] = nn.Parameter(torch.zeros(choice.num_rows))
        return space

    def at_epoch(self, search_epoch: int) -> None:
        """Follow the decay.

        Raises:
            ConfigError: The number of epochs is not known.
        """
        if self.decay:
            epochs = known_epochs(self.epochs, self.key)
            self._remaining = cosine(min(search_epoch, epochs), epochs, 1.0)

    def on_op(self, y: Tensor, op: str, edge: EdgeInfo) -> Tensor:
        """[B, C, H, W] → the same with noise, out of place."""
        if not self.acts_on(op):
            return y
        key = ("output noise", edge.cell, edge.row, op)
        std = self._strength(edge.choice)[edge.row] if self.learnable else self.std
        if self.form == "multiplicative":
            return y * (1 + self._remaining * (self.mean - 1 + std * draws.normal_like(y, *key)))
        if self.distribution == "gaussian":
            noise = std * y.detach().std() * draws.normal_like(y, *key)
        elif self.distribution == "uniform":
            noise = (3 * std) ** 0.5 * _symmetric_like(y, *key)
        else:
            noise = math.sqrt(3) * std * y.detach().std() * _symmetric_like(y, *key)
        return y + self._remaining * (self.mean + noise)

    def metrics(self) -> dict[str, float]:
        """Learnt strengths, averaged over the rows that have noise, by choice; what is left where the noise fades."""
        learnt = {
            f"noise_std/{name}": float(self._strength(name).detach()[rows].mean()) for name, rows in self._rows.items()
        }
        return {**learnt, "noise_left": self._remaining} if self.decay else learnt


def _symmetric_like(y: Tensor, *key: int | str) -> Tensor:
    """U(−1, 1) of the shape, type and device of `y`, one draw a sample."""
    rng = draws.generator(*key, device=y.device, per_sample=True)
    return 2 * torch.rand(y.shape, dtype=y.dtype, device=y.device, generator=rng) - 1
