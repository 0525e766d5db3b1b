"""The spaces of graph convolutions of SGAS, for point clouds with classes and for graphs with labelled nodes.

Source: Li et al., SGAS (CVPR 2020), and its released code (`gcn_point`, `gcn_graph`). One kind of cell with two inputs
and three nodes, each of which keeps two edges; the output of a cell is its second input and its nodes, so a genotype
joins the nodes and every network the input besides.
Shapes: E edges and O options of the choice `cell`: 9 edges, 10 options.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from nas_lightning.core.choices import Choice
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.core.space import Kind
from nas_lightning.points.body import INPUTS, GraphStructure, PointStructure, Structure
from nas_lightning.points.network import PointNetwork
from nas_lightning.points.supernet import PointSupernet
from nas_lightning.spaces.cell_space import WeightedEdges

CELL = "cell"
Positive = Annotated[int, Field(ge=1)]


class ConvolutionSpace(WeightedEdges):
    """Cells of graph convolutions; one subclass a kind of data.

    Args:
        name: Name of the space; genotypes carry it.
        operations: The candidate operations of every edge.
        keep: Edges that each node keeps in a genotype.
        structure: The network around the cells.

    Attributes:
        choices: `cell`, of kind `op`; with edge weights also `cell_edge`.
        partial_channels: Divisor of the channels that go through the operations of the supernet.
        edge_weights: Whether the edges into a node are weighted against each other.

    Raises:
        ConfigError: An unknown operation, or one twice.
    """

    sizes: ClassVar[tuple[str, ...]] = ("init_channels", "layers")

    def __init__(self, name: str, operations: Sequence[str], keep: int, structure: Structure) -> None:
        self.name = name
        self.structure = structure
        nodes = range(INPUTS, INPUTS + structure.nodes)
        pairs = [(source, node) for node in nodes for source in range(node)]
        sources, fed = zip(*pairs, strict=True)
        options = _checked(operations, structure.family.operations)
        self.choices = {CELL: Choice(CELL, "op", (options,) * len(pairs), sources, fed, keep)}
        self.concat = {CELL: tuple(nodes)}

    def supernet(  # type: ignore[override] # not of images
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 32,
        layers: int = 2,
        engine: str = "auto",
    ) -> PointSupernet:
        """Build the supernet of this space; see `PointSupernet`.

        Raises:
            ConfigError: An unknown engine, or `partial_channels` does not divide the channels.
        """
        return PointSupernet(
            self.choices,
            self.structure,
            self.partial_channels,
            num_classes,
            in_channels,
            init_channels,
            layers,
            engine,
        )

    def network(  # type: ignore[override] # likewise
        self,
        genotype: Genotype,
        num_classes: int = 40,
        in_channels: int = 3,
        init_channels: int = 128,
        layers: int = 3,
        auxiliary: bool = False,
        structure: Structure | None = None,
    ) -> PointNetwork:
        """Build the network of a genotype; see `PointNetwork`.

        Args:
            genotype: The genotype.
            num_classes: Outputs.
            in_channels: Coordinates of a point, or features of a node.
            init_channels: Channels C of a node of a cell.
            layers: Number of cells.
            auxiliary: Not offered: the head of the released code cannot be built.
            structure: The network around the cells; None: that of the search.

        Raises:
            GenotypeError: The genotype does not belong to this space.
            ConfigError: An auxiliary head is asked for.
        """
        self.validate(genotype)
        if auxiliary:
            raise ConfigError(
                f"space={self.name}: networks of graph convolutions have no auxiliary head; use evaluation.auxiliary=0"
            )
        return PointNetwork(genotype, structure or self.structure, num_classes, in_channels, init_channels, layers)

    def build_supernet(self, data: Any, outputs: int, settings: Any, engine: str = "auto") -> PointSupernet:
        """Build the supernet of a search; see `SearchSpace.build_supernet`.

        Raises:
            ConfigError: Sizes do not fit the space or the data.
        """
        self.check_sizes(settings)
        return self.supernet(outputs, data.in_channels, settings.init_channels, settings.layers, engine)

    def build_network(
        self, genotype: Genotype, data: Any, outputs: int, recipe: Any, auxiliary: bool = False
    ) -> PointNetwork:
        """Build the network of a retraining; see `SearchSpace.build_network`.

        Raises:
            GenotypeError: The genotype does not belong to this space.
            ConfigError: The recipe does not fit the data, or an auxiliary head is asked for.
        """
        structure = self.structure_of(data, recipe)
        return self.network(
            genotype, outputs, data.in_channels, recipe.init_channels, recipe.layers, auxiliary, structure
        )

    def structure_of(self, data: Any, recipe: Any) -> Structure:
        """Return the network around the cells by a recipe.

        Raises:
            ConfigError: It does not fit the data.
        """
        return self.structure

    def validate(self, genotype: Genotype) -> None:
        """Check that a genotype can be built in this space; see `check_genotype`.

        Raises:
            GenotypeError: It names another cell, an edge or an operation that this space does not have, or a node
                without inputs; or not all nodes are joined.
        """
        super().validate(genotype)
        for cell, nodes in self.concat.items():
            if tuple(sorted(genotype.concat[cell])) != nodes:
                raise GenotypeError(
                    f"genotype of space '{genotype.space}' does not belong to space '{self.name}': the cell joins nodes"
                    f" {list(genotype.concat[cell])}; allowed: {list(nodes)}"
                )

    def placed_operations(self, network: nn.Module, genotype: Genotype) -> dict[tuple[str, int], list[nn.Module]]:
        """Return the operations of the cells by the rows of the choice."""
        assert isinstance(network, PointNetwork)
        choice = self.choices[CELL]
        rows = {edge: row for row, edge in enumerate(zip(choice.nodes, choice.sources, strict=True))}
        placed: dict[tuple[str, int], list[nn.Module]] = {}
        for cell in network.cells:
            edges: Any = cell.edges
            operations: Any = cell.operations
            for (node, _, source), operation in zip(edges, operations, strict=True):
                placed.setdefault((CELL, rows[node, source]), []).append(operation)
        return placed


class PointSpace(ConvolutionSpace):
    """Cells of graph convolutions that read point clouds.

    Args:
        name: Name of the space; genotypes carry it.
        operations: The candidate operations of every edge.
        num_nodes: Intermediate nodes of a cell.
        keep: Edges that each node keeps in a genotype.
        neighbours: Neighbours of a point, itself included; a recipe may have its own number.
        stem_multiplier: Width of the stem, as a multiple of the channels.
        embedding: Channels behind the cells.
        hidden: Widths of the dense layers before the classes.
        dropout: Probability of dropping a number behind each of them, in the search, too.

    Raises:
        ConfigError: An unknown operation, or one twice.
    """

    inputs: ClassVar[Kind] = "points"
    structure: PointStructure

    def __init__(
        self,
        name: str,
        operations: Sequence[str],
        num_nodes: Positive = 3,
        keep: Positive = 2,
        neighbours: Annotated[int, Field(ge=2)] = 9,
        stem_multiplier: Positive = 3,
        embedding: Positive = 1024,
        hidden: Sequence[Positive] = (512, 256),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    ) -> None:
        structure = PointStructure(num_nodes, stem_multiplier, neighbours, embedding, tuple(hidden), dropout)
        super().__init__(name, operations, keep, structure)

    def build_supernet(self, data: Any, outputs: int, settings: Any, engine: str = "auto") -> PointSupernet:
        """Build the supernet of a search; see `SearchSpace.build_supernet`.

        Raises:
            ConfigError: Sizes do not fit the space, or clouds have too few points.
        """
        self.check_sizes(settings)
        self.structure.check_points(data.points, settings.layers, "search")
        return super().build_supernet(data, outputs, settings, engine)

    def structure_of(self, data: Any, recipe: Any) -> PointStructure:
        """Return the network around the cells by a recipe; see `check_cloud`."""
        self.check_cloud(data.points, recipe)
        return self._with(recipe.neighbours)

    def check_cloud(self, points: int, recipe: Any) -> None:
        """Refuse a recipe whose last cell looks at more points than a cloud has.

        Args:
            points: Points of a cloud.
            recipe: The recipe, which sizes the network.

        Raises:
            ConfigError: It does.
        """
        self._with(recipe.neighbours).check_points(points, recipe.layers, "evaluation")

    def _with(self, neighbours: int | None) -> PointStructure:
        return self.structure if neighbours is None else replace(self.structure, neighbours=neighbours)


class GraphSpace(ConvolutionSpace):
    """Cells of graph convolutions that read graphs and label their nodes.

    Args:
        name: Name of the space; genotypes carry it.
        operations: The candidate operations of every edge.
        num_nodes: Intermediate nodes of a cell.
        keep: Edges that each node keeps in a genotype.
        stem_multiplier: Width of the stem, as a multiple of the channels.

    Raises:
        ConfigError: An unknown operation, or one twice.
    """

    inputs: ClassVar[Kind] = "graphs"

    def __init__(
        self,
        name: str,
        operations: Sequence[str],
        num_nodes: Positive = 3,
        keep: Positive = 2,
        stem_multiplier: Positive = 3,
    ) -> None:
        super().__init__(name, operations, keep, GraphStructure(num_nodes, stem_multiplier))


def _checked(operations: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Return the candidate operations."""
    if len(set(operations)) < len(operations):
        raise ConfigError(f"space.operations={list(operations)}: contains duplicates; name each operation once")
    unknown = [op for op in operations if op not in known]
    if unknown or set(operations) <= {"none"}:
        raise ConfigError(
            f"space.operations: unknown operation {unknown[0] if unknown else '(none but none given)'};"
            f" allowed: {', '.join(known)}"
        )
    return tuple(operations)
