"""Magnitude selection: keep the options with the largest mixing weights (Liu et al., DARTS, ICLR 2019, section 2.4)."""

import math
from typing import Annotated

from pydantic import Field

from nas_lightning.core.choices import Mixing
from nas_lightning.core.costs import WORDS, Costs, Counted
from nas_lightning.core.errors import ConfigError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import OneShot
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace
from nas_lightning.selectors.limits import Limit, smallest, strongest_within


class Magnitude(Selector):
    """Keeps the strongest option of each edge that a genotype may hold, and of each node the strongest edges by it.

    That is the architecture with the largest product of strengths. With limits it is the one among the architectures
    that keep to them, found exactly; see `selectors.limits`. Limits are no part of the publication.

    Args:
        max_macs: Most multiply-accumulates of the network that is evaluated, in millions; None is no limit.
        max_params: Most parameters of it, in millions; None is no limit.
        costs: Costs of the run's networks; filled in where there is a limit.
    """

    def __init__(
        self,
        max_macs: Annotated[float, Field(gt=0)] | None = None,
        max_params: Annotated[float, Field(gt=0)] | None = None,
        costs: Costs | None = None,
    ) -> None:
        given: dict[Counted, float | None] = {"macs": max_macs, "params": max_params}
        self.limits = {name: most for name, most in given.items() if most is not None}
        assert costs is not None or not self.limits, "filled in by the workbench"
        self._costs = costs

    def __call__(self, space: SearchSpace, strengths: Mixing) -> Genotype | None:
        """Return the genotype of the strengths; None where no architecture with any strength keeps to the limits."""
        genotype = space.genotype(strengths)
        limits = self._limits()
        if all(limit.allows(space.path_of(genotype)) for limit in limits):
            return genotype
        path = strongest_within(space, strengths, limits)
        return None if path is None else space.genotype_of(path)

    def select(self, one_shot: OneShot) -> Genotype:
        """Return the genotype of the strengths.

        Raises:
            ConfigError: No architecture that is still open keeps to the limits.
        """
        strengths = one_shot.strengths()
        genotype = self(one_shot.space, strengths)
        if genotype is None:
            raise ConfigError(self._too_low(one_shot.space, strengths, "what the search has left open"))
        return genotype

    def check(self, space: SearchSpace) -> None:
        """Refuse limits that no network of the space keeps to.

        Raises:
            ConfigError: The smallest network is larger, or costs of the space do not add up.
        """
        every = {name: choice.mask.float() for name, choice in space.choices.items()}
        if self.limits and strongest_within(space, every, self._limits()) is None:
            raise ConfigError(self._too_low(space, every, f"space={space.name}"))

    def report(self, space: SearchSpace, genotype: Genotype) -> dict[str, float]:
        """Return the costs that are limited, and the limits, in millions; nothing without limits."""
        found: dict[str, float] = {}
        for limit in self._limits():
            name, path = limit.table.name, space.path_of(genotype)
            found |= {name: limit.table.in_unit(limit.table.of_path(path)), f"max_{name}": limit.most}
        return found

    def _limits(self) -> list[Limit]:
        if self._costs is None:
            return []
        return [Limit(self._costs.table(name), most) for name, most in self.limits.items()]

    def _too_low(self, space: SearchSpace, strengths: Mixing, where: str) -> str:
        """Return the message that names the smallest network by each limit."""
        least = {limit.table.name: smallest(space, strengths, limit.table) for limit in self._limits()}
        given = " ".join(f"{self.key}.max_{name}={most:g}" for name, most in self.limits.items())
        words = " and ".join(f"{value:.6g} million {WORDS[name]}" for name, value in least.items())
        # Rounded up, so that the limit that the message names is one that a network keeps to.
        enough = " ".join(f"{self.key}.max_{name}={math.ceil(1e4 * v) / 1e4:g}" for name, v in least.items())
        several = ", each of another network" if len(least) > 1 else ""
        return f"{given}: the smallest network of {where} has {words}{several}; use {enough} or more"
