"""The expected cost of the architecture as a term of its loss (ProxylessNAS, FBNet)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.cost_files import read_latencies
from nas_lightning.core.costs import SCALES, Costs, CostTable
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.core.space import SearchSpace


class ExpectedCost(Regularizer):
    """Adds weight·(E/T)^exponent, or weight·log(E/T), to the architecture loss: E the expected cost, T the target.

    E = fixed + Σ_rows share_r Σ_o p_ro·cost_ro: p are the relaxation's mean weights, decided rows one-hot, and cost_ro
    is what option o costs in row r of the network that is retrained, in all its cells. An option that no genotype may
    hold, `none` in DARTS' cells, is left out of the row, and p scaled to sum to 1 without it. A node that keeps k of n
    edges takes each with the probability k/n, or by its weight; see `core.costs.edge_shares`. Sampled paths do not
    enter, so the term has no variance.

    Source: Cai et al., ProxylessNAS (ICLR 2019), section 3.3 and equation 3; `power` with exponent 1 has the gradient
    of `add#linear` in its released code, λ·(E − T)/T, with the λ = 0.1 of its search script. The script's default is
    another form, `mul#log`. The logarithm is that of Wu et al., FBNet (CVPR 2019), equation 2, and of `mul#log`, which
    both multiply the loss by their term; here it is added, because terms of several parts add up. Costs are counted,
    or measured by `task=costs`, operation by operation, as both papers do with latencies.

    Args:
        cost: `macs`, `params` or `latency`.
        weight: Factor of the term.
        target: T in millions, or ms of a latency; None is the expected cost where all options weigh the same.
        form: `power` or `log`.
        exponent: Of `power`.
        table: `costs.json` of `task=costs`, for a latency.
        costs: Costs of the run's networks; filled in.

    Attributes:
        at_mean: The term is a function of the relaxation's mean.

    Raises:
        ConfigError: A latency without a table, or a table without a latency.
    """

    key = "regularizer.expected_cost"
    adjustable: ClassVar[dict[str, float]] = {"weight": math.inf}
    at_mean = True

    def __init__(
        self,
        cost: Literal["macs", "params", "latency"] = "macs",
        weight: Annotated[float, Field(ge=0)] = 0.1,
        target: Annotated[float, Field(gt=0)] | None = None,
        form: Literal["power", "log"] = "power",
        exponent: Annotated[float, Field(gt=0)] = 1.0,
        table: str | None = None,
        costs: Costs | None = None,
    ) -> None:
        if (cost == "latency") != (table is not None):
            raise ConfigError(
                f"{self.key}.table={'null' if table is None else table}: cost={cost} is"
                + (
                    f" measured beforehand; give {self.key}.table=FILE, costs.json of task=costs"
                    if table is None
                    else f" counted; leave it out, or use {self.key}.cost=latency"
                )
            )
        self.cost: Literal["macs", "params", "latency"] = cost
        self.weight = weight
        self.target = target
        self.form = form
        self.exponent = exponent
        self.file = table
        self.costs = costs
        self._choices: Mapping[str, Choice] = {}
        self._table: CostTable | None = None
        self._aim = math.nan
        self._expected: Tensor | None = None

    def build(self, space: SearchSpace) -> SearchSpace:
        """Measure what the options of the space cost; return the same space.

        Raises:
            ConfigError: Costs of the space do not add up, or the table of latencies is of other networks.
        """
        assert self.costs is not None, "filled in where a search is built"
        self._choices = space.choices
        if self.cost == "latency":
            assert self.file is not None
            self._table = read_latencies(self.file, self.costs, f"{self.key}.table")
        else:
            self._table = self.costs.table(self.cost)
        uniform = {name: choice.uniform().double() for name, choice in space.choices.items()}
        at_start = float(self._table.expected(space.choices, uniform, {}))
        if at_start <= 0:
            raise ConfigError(
                f"{self.key}.cost={self.cost}: nothing of space={space.name} costs any; remove ~{self.key}"
            )
        self._aim = at_start if self.target is None else self.target * SCALES[self.cost]
        return space

    def check(self, module: Any) -> None:
        """Refuse a search that learns no architecture, or whose mixing weights are no probabilities.

        Raises:
            ConfigError: It is one of these.
        """
        if not module.relaxation.simplex:
            raise ConfigError(
                f"{self.key}: the mixing weights of relaxation {type(module.relaxation).__name__} do not sum to 1, so"
                f" they are no probabilities to expect a cost by; use relaxation=softmax or ~{self.key}"
            )
        if not module.hypergradient.learns:
            raise ConfigError(
                f"{self.key}: hypergradient {type(module.hypergradient).__name__} learns no architecture, so its cost"
                f" cannot be an objective; use hypergradient=first_order or ~{self.key}"
            )

    def expected(self, mixing: Mixing, kept: Mapping[str, Tensor]) -> Tensor:
        """Return E of mixing weights by choice, each [R, O], as a share of T, a scalar."""
        assert self._table is not None, "built first"
        scaled = {name: table / self._aim for name, table in self._table.options.items()}
        return CostTable(self.cost, self._table.fixed / self._aim, scaled).expected(self._choices, mixing, kept)

    def penalty(self, arch: Tensors, mixing: Mixing, kept: Mapping[str, Tensor]) -> Tensor:
        """Return the term of mean weights by choice, each [R, O], a scalar."""
        share = self.expected(mixing, kept)
        self._expected = share.detach()
        term = torch.log(share) if self.form == "log" else share**self.exponent
        return self.weight * term

    def metrics(self) -> dict[str, float]:
        """Return the last expected cost, in millions or ms; NaN before the first step of the architecture."""
        share = math.nan if self._expected is None else float(self._expected)
        return {f"expected_{self.cost}": share * self._aim / SCALES[self.cost]}
