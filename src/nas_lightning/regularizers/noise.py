"""Noise on the outputs of the candidate operations (NoisyDARTS)."""

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

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
    """Refuse a space without skip connections for a part that acts on them.

    Args:
        space: The space.
        part: Key of the part in the configuration.
        instead: Override that replaces the part.

    Raises:
        ConfigError: No edge offers skip_connect.
    """
    if not space.offers_skip:
        raise ConfigError(
            f"{part}: no edge of space={space.name} offers skip_connect, so it would do nothing; use ~{part} {instead}"
        )


class Noise(Regularizer, nn.Module):
    """Adds fresh noise to operation outputs in training mode, in weight and architecture steps.

    Additive: y + d·(mean + n), n elementwise
        gaussian          std·sg[std(y)]·N(0, 1): relative to the deviation of the whole tensor y (unbiased);
        uniform           U(−a, a), a = √(3·std): absolute; `std` is its variance (as released);
        uniform_matched   U(−a, a), a = √3·std·sg[std(y)]: the standard deviation of the Gaussian noise.
    Multiplicative: y·(1 + d·(ξ − 1)), ξ ~ N(mean, std) elementwise, absolute.
    sg stops the gradient; the decay d is 1, or ½(1 + cos(πe/E)). The operation `none` remains zero.

    Source: Chu et al., NoisyDARTS, and its released code. Where they differ: noise is added after the operation (as
    released; before it in the paper's eq. 7, which is the same for the identity), and its deviation is relative
    (as released; apparently absolute in the paper). Noise on every operation (NFA) is not in the released code.
    Left out: a decay of the whole multiplicative product, which ends with zero skips (released code), and its fixed
    50 epochs of decay. No details of the learnable deviation are published; this is our interpretation.

    Args:
        operations: `skip_connect` (OFS, the default of the paper) or `all` (NFA, for spaces without skip_connect).
        std: Strength of the noise as above; its initial value if learnable.
        mean: Absolute mean; None is unbiased, 0 for additive and 1 for multiplicative noise.
        distribution: Distribution of additive noise, as above; multiplicative noise is Gaussian.
        form: `additive` or `multiplicative`.
        decay: Let the noise decay, including its mean.
        epochs: Total search epochs E; required by the decay.
        learnable: Replace `std` by one λ = softplus(ρ₀ + ρ) for each row of a choice, initially `std`. It is trained
            with the weights, whose decay pulls ρ towards 0 and so λ towards `std`.

    Attributes:
        rho: ρ by choice, each [R]; empty unless learnable. Created by `build`.

    Raises:
        ConfigError: Uniform multiplicative noise, or a learnable strength that starts at 0.
    """

    key = "regularizer.skip_noise"
    graphable = True
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
        """Return λ of the rows of a choice, [R]."""
        return softplus(self._start + self.rho[choice])

    def _scaled(self, scale: Callable[[Any], Any], y: Tensor, edge: EdgeInfo) -> float | Tensor:
        """Return `scale` of λ of an edge where it is learnt, of `std`, which a control may change, where it is not."""
        if self.learnable:
            return scale(self._strength(edge.choice)[edge.row])
        return draws.number(lambda: scale(self.std), y)

    def _is_noisy(self, op: str) -> bool:
        return op == "skip_connect" if self.operations == "skip_connect" else op != "none"

    def acts_on(self, op: str) -> bool:
        """Return True in training mode for operations with noise."""
        return self.training and self._is_noisy(op)

    def build(self, space: SearchSpace) -> SearchSpace:
        """Create the learnable parameters of the choices; return the same space.

        Raises:
            ConfigError: Noise on skip connections in a space without any.
        """
        if self.operations == "skip_connect":
            instead = "+regularizer=op_noise (noise on every operation), or method=noisy_darts_nfa"
            require_skip_connect(space, self.key, instead)
        if self.learnable:
            self._start = self.std + math.log(-math.expm1(-self.std))  # inverse of softplus: softplus(start) = std
            for name, choice in space.choices.items():
                rows = [row for row, options in enumerate(choice.options) if any(map(self._is_noisy, options))]
                if choice.kind == "op" and rows:
                    self._rows[name] = rows
                    self.rho[name] = nn.Parameter(torch.zeros(choice.num_rows))
        return space

    def at_epoch(self, search_epoch: int) -> None:
        """Follow the decay.

        Raises:
            ConfigError: The noise decays and `epochs` is None.
        """
        if self.decay:
            epochs = known_epochs(self.epochs, self.key)
            self._remaining = cosine(min(search_epoch, epochs), epochs, 1.0)

    def on_op(self, y: Tensor, op: str, edge: EdgeInfo) -> Tensor:
        """Return `y` [B, C, H, W] with noise; never in place."""
        if not self.acts_on(op):
            return y
        key = ("output noise", edge.cell, edge.row, op)
        left = draws.number(lambda: self._remaining, y)
        if self.form == "multiplicative":
            return y * (
                1 + left * (self.mean - 1 + self._scaled(lambda std: std, y, edge) * draws.normal_like(y, *key))
            )
        if self.distribution == "gaussian":
            noise = self._scaled(lambda std: std, y, edge) * y.detach().std() * draws.normal_like(y, *key)
        elif self.distribution == "uniform":
            noise = self._scaled(lambda std: (3 * std) ** 0.5, y, edge) * draws.symmetric_like(y, *key)
        else:
            deviation = self._scaled(lambda std: math.sqrt(3) * std, y, edge) * y.detach().std()
            noise = deviation * draws.symmetric_like(y, *key)
        return y + left * (self.mean + noise)

    def metrics(self) -> dict[str, float]:
        """Return learnt strengths by choice, averaged over rows with noise, and the factor of the decay, if any."""
        learnt = {
            f"noise_std/{name}": float(self._strength(name).detach()[rows].mean()) for name, rows in self._rows.items()
        }
        return {**learnt, "noise_left": self._remaining} if self.decay else learnt
