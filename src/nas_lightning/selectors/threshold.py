"""Selection by a threshold, for strengths that do not compete (Chu et al., FairDARTS, ECCV 2020, section 4.3)."""

from typing import Annotated

from pydantic import Field

from nas_lightning.core.choices import ChoiceKind, Mixing
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.one_shot import OneShot
from nas_lightning.core.selector import Selector
from nas_lightning.core.space import SearchSpace


class Threshold(Selector):
    """Keeps of each node the strongest edges, and of each edge the best operation if it reaches the threshold.

    So a node has none to two inputs, and one without inputs does not exist. NAS-Bench-201 has `none` on edges that do
    not reach it. There is no genotype of an epoch in which a whole cell is below it.

    Source: the paper and `threshold_sparse` of its released code, by default; `options=2 every=true` is the code's
    `threshold_edge`.

    Args:
        threshold: Least strength of an operation.
        options: Most operations of an edge.
        every: Consider every edge of a node, not only as many as the space keeps.
    """

    by_strength: tuple[ChoiceKind, ...] = ("op",)

    def __init__(
        self,
        threshold: Annotated[float, Field(gt=0, le=1)] = 0.85,
        options: Annotated[int, Field(ge=1)] = 1,
        every: bool = False,
    ) -> None:
        self.threshold = threshold
        self.options = options
        self.every = every

    def __call__(self, space: SearchSpace, strengths: Mixing) -> Genotype | None:
        """Return the genotype of the strengths; None where a cell has no operation that is strong enough."""
        try:
            return self._genotype(space, strengths)
        except GenotypeError:
            return None

    def select(self, one_shot: OneShot) -> Genotype:
        """Return the genotype of the strengths.

        Raises:
            ConfigError: A cell has no operation that is strong enough.
        """
        try:
            return self._genotype(one_shot.space, one_shot.strengths())
        except GenotypeError as error:
            raise ConfigError(
                f"{self.key}.threshold={self.threshold:g}: {error}; lower it on the finished search, task=select"
                f" run=FOLDER selector=threshold selector.threshold=VALUE, or search for more epochs"
            ) from error

    def check(self, space: SearchSpace) -> None:
        """Refuse a space without such genotypes.

        Raises:
            ConfigError: It has none even where every operation is strong.
        """
        strong = {name: (choice.mask & ~choice.where("none")).float() for name, choice in space.choices.items()}
        try:
            self._genotype(space, strong)
        except GenotypeError as error:
            raise ConfigError(f"{self.key}: {error}") from error

    def _genotype(self, space: SearchSpace, strengths: Mixing) -> Genotype:
        return space.sparse_genotype(strengths, self.threshold, self.options, self.every)
