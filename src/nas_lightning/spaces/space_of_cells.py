"""Base of spaces whose genotypes are cells of edges that are chosen: discretising, drawing, checking and counting."""

from collections.abc import Mapping

from torch import Generator, Tensor

from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import SearchSpace
from nas_lightning.spaces.cell_genotypes import (
    check_genotype,
    count_genotypes,
    edges_of_path,
    path_of_cells,
    strongest_edges,
)
from nas_lightning.spaces.sampling import sample_path


class SpaceOfCells(SearchSpace):
    """A space of cells, each with a choice of operations for its edges.

    Attributes:
        concat: For each cell type, the nodes that are joined into its output.
    """

    concat: dict[str, tuple[int, ...]]

    @property
    def _cells(self) -> dict[str, Choice]:
        """The choices of operations, by cell type."""
        return {name: choice for name, choice in self.choices.items() if choice.kind == "op"}

    def genotype(self, scores: Mapping[str, Tensor], keep: int | None = None) -> Genotype:
        """Discretise: keep the strongest edges of each node, each with its best option; see `strongest_edges`.

        Args:
            scores: Strengths of the options by choice, each [E, O], and of the edges into each node, each [N, S],
                where they are weighted.
            keep: Number of edges that a node keeps, but for nodes that keep all; None takes the space's own.

        Raises:
            GenotypeError: A strength is not a number.
        """
        return Genotype(self.name, strongest_edges(self._cells, scores, keep), dict(self.concat))

    def sample(self, generator: Generator | None = None, none: bool = True) -> Mixing:
        """Draw a path uniformly, zeros and ones [E, O] by choice, on the CPU; see `sample_path`.

        Args:
            generator: The generator to draw from; None is torch's global one.
            none: Whether to draw the operation `none` like any other, as in the released code of random search; without
                effect where no edge offers it, or paths never hold it (`Choice.none_drawn`).
        """
        return sample_path(self.choices, generator, none)

    def genotype_of(self, path: Mixing) -> Genotype:
        """Return the genotype with exactly the edges of a path; see `edges_of_path`.

        Args:
            path: By choice [E, O]: which option of which edge is taken; any value but zero counts as taken.

        Raises:
            GenotypeError: An edge has several options, or one that it does not offer, or a node has no edge.
        """
        return Genotype(self.name, edges_of_path(self.name, self._cells, path), dict(self.concat))

    def path_of(self, genotype: Genotype) -> Mixing:
        """Return the path of a genotype, zeros and ones [E, O] by choice, with weight 1 on edges that are kept.

        Raises:
            GenotypeError: The genotype cannot be built in this space.
        """
        self.validate(genotype)
        return path_of_cells(self.choices, genotype)

    def validate(self, genotype: Genotype) -> None:
        """Check that a genotype can be built in this space; see `check_genotype`.

        Raises:
            GenotypeError: It names another set of cells, an edge or an operation that this space does not have, or a
                node without inputs.
        """
        check_genotype(self.name, self._cells, genotype)

    def numbering(self) -> None:
        """Return None: no benchmark has numbered these architectures."""

    def count(self) -> int:
        """Count the genotypes that `genotype` can return."""
        return count_genotypes(self._cells)
