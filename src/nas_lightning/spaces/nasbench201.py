"""The space of NAS-Bench-201: cells of four nodes and six edges, each edge one of five operations, `none` among them.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020), section 2, and its released code. Every node is the sum of all its
incoming edges, so nothing but the operations is searched: 5⁶ = 15,625 cells, all of which the benchmark has trained.
Shapes: E = 6 edges, O = 5 operations.
"""

from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

from torch import Generator, Tensor, nn

from nas_lightning.core.arch_strings import CELL, CONCAT, EDGES, OPERATIONS, every
from nas_lightning.core.choices import Choice, Mixing
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import NASBENCH201, Genotype
from nas_lightning.spaces.cell_genotypes import path_of_cells, strengths_of
from nas_lightning.spaces.fixed_edges import FixedEdges
from nas_lightning.spaces.nasbench201_macro import INIT_CHANNELS, LAYERS, STAGES, check_stem
from nas_lightning.spaces.nasbench201_networks import NasBench201Network, NasBench201Supernet
from nas_lightning.spaces.sampling import sample_path


@cache
def _numbering() -> tuple[int, ...]:
    """Shuffle the places of all cells as the released code does (its seed is 88)."""
    places = list(range(len(OPERATIONS) ** len(EDGES)))
    Random(88).shuffle(places)
    return tuple(places)


@cache
def arch_strings() -> tuple[str, ...]:
    """Return the strings of the benchmark's architectures 0 to 15,624."""
    cells = every()
    return tuple(cells[place] for place in _numbering())


class NasBench201Space(FixedEdges):
    """One kind of cell, repeated through the whole network.

    Args:
        name: Name of the space; genotypes carry it.

    Attributes:
        choices: One choice, `cell`, of kind `op`: a row an edge; a genotype may hold `none`.
    """

    no_edge_weights = "a node keeps all its edges, so they cannot be weighed against each other"

    def __init__(self, name: str = NASBENCH201) -> None:
        self.name = name
        nodes, sources = zip(*EDGES, strict=True)
        self.choices: dict[str, Choice] = {
            CELL: Choice(CELL, "op", (OPERATIONS,) * len(EDGES), sources, nodes, keep=None, none_selectable=True)
        }

    def check_image_size(self, image_size: int, layers: int, stem: str) -> None:
        """Refuse image sizes that the two residual blocks cannot halve evenly.

        Raises:
            ConfigError: The side is not a multiple of 4, or the stem is another than `cifar`.
        """
        check_stem(stem)
        stride = 2 ** (STAGES - 1)
        if image_size < stride or image_size % stride:
            nearest = max(stride, round(image_size / stride) * stride)
            raise ConfigError(
                f"data.image_size={image_size}: networks of NAS-Bench-201 halve the image twice, so the side must be a"
                f" multiple of {stride}; use data.image_size={nearest} or change data.path's images"
            )

    def supernet(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = INIT_CHANNELS,
        layers: int = LAYERS,
        stem: str = "cifar",
        engine: str = "auto",
    ) -> NasBench201Supernet:
        """Build the supernet of this space, with `layers` cells a stage; see `NasBench201Supernet`.

        Raises:
            ConfigError: An unknown engine, a channel count that is odd or that `partial_channels` does not divide, or
                another stem than `cifar`.
        """
        return NasBench201Supernet(
            self.choices, self.partial_channels, num_classes, in_channels, init_channels, layers, stem, engine
        )

    def network(
        self,
        genotype: Genotype,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = INIT_CHANNELS,
        layers: int = LAYERS,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> NasBench201Network:
        """Build the discrete network of a genotype, with `layers` cells a stage; see `NasBench201Network`.

        Raises:
            GenotypeError: The genotype does not belong to this space.
            ConfigError: An odd channel count or another stem than `cifar`.
        """
        self.validate(genotype)
        return NasBench201Network(
            self.choices[CELL], genotype, num_classes, in_channels, init_channels, layers, auxiliary, stem
        )

    def placed_operations(self, network: nn.Module, genotype: Genotype) -> dict[tuple[str, int], list[nn.Module]]:
        """Return the operations of all cells by the rows of the choice."""
        cells: Any = network.cells
        return {(CELL, row): [cell.operations[row] for cell in cells] for row in range(len(EDGES))}

    def genotype(self, scores: Mapping[str, Tensor], keep: int | None = None) -> Genotype:
        """Discretise: select the strongest operation of each edge, `none` included, the lower one of equals.

        Args:
            scores: Strength of the operations, `cell` [E, O].
            keep: Ignored: every node keeps all its edges.

        Raises:
            GenotypeError: A strength is not a number.
        """
        return self._genotype([row.index(max(row)) for row in strengths_of(scores, CELL)])

    def sparse_genotype(
        self, scores: Mapping[str, Tensor], threshold: float, options: int = 1, every: bool = False
    ) -> Genotype:
        """Discretise: select the strongest operation of each edge, `none` where none reaches the threshold.

        Args:
            scores: Strength of the operations, `cell` [E, O].
            threshold: Least strength of an operation.
            options: One: an edge has a single operation here.
            every: Ignored: every node keeps all its edges.

        Raises:
            GenotypeError: No edge reaches the threshold, several options are asked for, or a strength is not a number.
        """
        if options > 1:
            raise GenotypeError(
                f"an edge of space={self.name} has one operation, not {options}; use selector.options=1"
            )
        rows = strengths_of(scores, CELL)
        none = OPERATIONS.index("none")
        columns = [row.index(max(row)) if max(row) >= threshold else none for row in rows]
        if all(column == none for column in columns):
            largest = max(value for row in rows for place, value in enumerate(row) if place != none)
            raise GenotypeError(
                f"no operation of the cell reaches {threshold:g} and is its edge's strongest, the strongest is at"
                f" {largest:.3g}"
            )
        return self._genotype(columns)

    def sample(self, generator: Generator | None = None, none: bool = True) -> Mixing:
        """Draw a cell uniformly, zeros and ones [E, O] under `cell`, on the CPU; see `sample_path`.

        Args:
            generator: The generator to draw from; None is torch's global one.
            none: Whether to draw the operation `none` like any other.
        """
        return sample_path(self.choices, generator, none)

    def genotype_of(self, path: Mixing) -> Genotype:
        """Return the genotype of a drawn cell.

        Args:
            path: `cell` [E, O]: which operation of which edge is taken, any value but zero counts as taken.

        Raises:
            GenotypeError: An edge has none or several operations.
        """
        columns: list[int] = []
        for (node, source), weights in zip(EDGES, path[CELL].tolist(), strict=True):
            taken = [column for column, weight in enumerate(weights) if weight != 0]
            if len(taken) != 1:
                raise GenotypeError(
                    f"path of space '{self.name}': the edge from {source} to {node} takes options {taken}; one of"
                    f" {len(OPERATIONS)} must be taken"
                )
            columns += taken
        return self._genotype(columns)

    def _genotype(self, columns: list[int]) -> Genotype:
        """Return the genotype with these operations, by their places, in the order of the edges."""
        edges = tuple((node, OPERATIONS[column], source) for (node, source), column in zip(EDGES, columns, strict=True))
        return Genotype(self.name, {CELL: edges}, {CELL: CONCAT})

    def path_of(self, genotype: Genotype) -> Mixing:
        """Return the path of a genotype, zeros and ones [E, O] under `cell`.

        Raises:
            GenotypeError: It is no cell of NAS-Bench-201.
        """
        self.validate(genotype)
        return path_of_cells(self.choices, genotype)

    def validate(self, genotype: Genotype) -> None:
        """Check that a genotype can be built in this space.

        Raises:
            GenotypeError: It is no cell of NAS-Bench-201.
        """
        if "arch_str" not in genotype.to_dict():
            hint = "" if genotype.space == self.name else f"; choose its own space: space={genotype.space}"
            raise GenotypeError(
                f"genotype of space '{genotype.space}' does not belong to space '{self.name}': it needs one cell,"
                f" 'cell', with the edges {', '.join(f'{s} to {n}' for n, s in EDGES)}, each one of"
                f" {', '.join(OPERATIONS)}, and the output of node {CONCAT[0]}{hint}"
            )

    def numbering(self) -> tuple[int, ...]:
        """Return the places, in the order of `enumeration`, of the benchmark's architectures 0 to 15,624.

        The benchmark numbers its cells as its code has shuffled them, once and for all, by Python's generator.
        """
        return _numbering()

    def count(self) -> int:
        """Count the genotypes that `genotype` can return: 15,625."""
        return len(OPERATIONS) ** len(EDGES)
