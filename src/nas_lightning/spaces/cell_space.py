"""Cell spaces as data: the candidate operations of each edge, and how many edges a node keeps.

Shapes: E edges and O options of a choice, N nodes that have incoming edges, S sources of the last of them.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Annotated, Any, Self

from pydantic import Field
from torch import Tensor, nn

from nas_lightning.core.choices import Choice, edge_key
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Genotype
from nas_lightning.spaces import macro
from nas_lightning.spaces.cell_genotypes import (
    edges_above,
    strengths_of,
)
from nas_lightning.spaces.network import CellNetwork
from nas_lightning.spaces.operations import OPERATIONS
from nas_lightning.spaces.space_of_cells import SpaceOfCells
from nas_lightning.spaces.supernet import CellSupernet

CELL_TYPES = ("normal", "reduce")
Operations = Sequence[str] | Mapping[str, Sequence[Sequence[str]]]


class WeightedEdges(SpaceOfCells):
    """Cells whose supernet may pass a part of the channels by, and weigh the edges into a node against each other.

    Attributes:
        partial_channels: Divisor K of the channels that go through the operations of the supernet.
        edge_weights: Whether the edges into a node are weighted; each choice then has another one of its edges.
    """

    partial_channels: int = 1
    edge_weights: bool = False

    def variant(self, **changes: Any) -> Self:
        """Return a copy with another `partial_channels` or `edge_weights`: another supernet, the same genotypes."""
        other = copy(self)
        for name, value in changes.items():
            assert name in ("partial_channels", "edge_weights"), name
            setattr(other, name, value)
        other.choices = dict(self._cells)
        if other.edge_weights:
            other.choices |= {edge_key(cell): edge_choice(choice) for cell, choice in self._cells.items()}
        return other


class CellSpace(WeightedEdges):
    """Normal and reduction cells with two inputs and `num_nodes` intermediate nodes, every earlier node linked.

    Edges are numbered node by node and, within a node, by their source: 2 + 3 + 4 + 5 = 14 with four nodes.

    Args:
        name: Name of the space; genotypes carry it.
        operations: Candidate operations, in the order of the options: one list for all edges, or for each cell type
            (`normal`, `reduce`) a list an edge.
        num_nodes: Intermediate nodes of a cell.
        keep: Edges that each node keeps in a genotype.

    Attributes:
        choices: The edges of each cell type, kind `op`; with edge weights also `normal_edge` and `reduce_edge`, kind
            `edge`: a row a node, its options the nodes that the incoming edges leave.
        partial_channels: Divisor K of the channels that go through the operations of the supernet; see `variant`.
        edge_weights: Whether the edges into a node are weighted against each other; see `variant`.

    Raises:
        ConfigError: An unknown operation, or a number of per-edge lists that does not fit the edges.
    """

    def __init__(
        self,
        name: str,
        operations: Operations,
        num_nodes: Annotated[int, Field(ge=1)] = 4,
        keep: Annotated[int, Field(ge=1)] = 2,
    ) -> None:
        self.name = name
        self.num_nodes = num_nodes
        pairs = [(source, node) for node in range(2, 2 + num_nodes) for source in range(node)]
        self.concat = {cell: tuple(range(2, 2 + num_nodes)) for cell in CELL_TYPES}
        self.choices: dict[str, Choice] = {}
        for cell in CELL_TYPES:
            options = self._options(operations, cell, len(pairs))
            sources, nodes = zip(*pairs, strict=True)
            choice = Choice(cell, "op", options, sources, nodes, keep)
            for node, rows in choice.rows_of_node.items():
                if all(options[row] == ("none",) for row in rows):
                    raise ConfigError(f"space.operations: node {node} of the {cell} cell is offered nothing but none")
            self.choices[cell] = choice

    def _options(self, operations: Operations, cell: str, num_edges: int) -> tuple[tuple[str, ...], ...]:
        """Return the candidate operations of each edge of a cell type, checked."""
        if isinstance(operations, Mapping):
            if set(operations) != set(CELL_TYPES):
                raise ConfigError(
                    f"space.operations has {sorted(operations)}: per-edge lists are given for 'normal' and 'reduce'"
                )
            lists = operations[cell]
            if len(lists) != num_edges:
                raise ConfigError(
                    f"space.operations.{cell} has {len(lists)} lists: {self.num_nodes} nodes make {num_edges} edges"
                )
        else:
            lists = [operations] * num_edges
        for row in lists:
            if len(set(row)) < len(row):
                raise ConfigError(f"space.operations={list(row)}: contains duplicates")
            unknown = [op for op in row if op not in OPERATIONS]
            if unknown or not row:
                raise ConfigError(
                    f"space.operations: unknown operation {unknown[0] if unknown else '(none given)'};"
                    f" allowed: {', '.join(OPERATIONS)}"
                )
        return tuple(tuple(row) for row in lists)

    def check_image_size(self, image_size: int, layers: int, stem: str) -> None:
        """Refuse image sizes that the strides cannot halve evenly; see `macro.check_image_size`.

        Raises:
            ConfigError: The side is not a multiple of the network's total stride.
        """
        macro.check_image_size(image_size, layers, stem)

    def supernet(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 16,
        layers: int = 8,
        stem: str = "cifar",
        engine: str = "auto",
    ) -> CellSupernet:
        """Build the supernet of this space; see `CellSupernet`.

        Raises:
            ConfigError: An unknown engine, a channel count that is odd or that `partial_channels` does not divide, or
                an unknown stem.
        """
        return CellSupernet(
            self.choices,
            self.concat,
            self.partial_channels,
            num_classes,
            in_channels,
            init_channels,
            layers,
            stem,
            engine,
        )

    def network(
        self,
        genotype: Genotype,
        num_classes: int = 10,
        in_channels: int = 3,
        init_channels: int = 36,
        layers: int = 20,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> CellNetwork:
        """Build the discrete network of a genotype; see `CellNetwork`.

        Raises:
            GenotypeError: The genotype does not belong to this space.
            ConfigError: An odd channel count or an unknown stem.
        """
        self.validate(genotype)
        return CellNetwork(genotype, num_classes, in_channels, init_channels, layers, auxiliary, stem)

    def placed_operations(self, network: nn.Module, genotype: Genotype) -> dict[tuple[str, int], list[nn.Module]]:
        """Return the operations of the cells of a kind by the rows of its choice."""
        placed: dict[tuple[str, int], list[nn.Module]] = {}
        cells: Any = network.cells
        for cell in cells:
            choice = self.choices[cell.kind]
            rows = {edge: row for row, edge in enumerate(zip(choice.nodes, choice.sources, strict=True))}
            for (node, _, source), operation in zip(cell.edges, cell.operations, strict=True):
                placed.setdefault((cell.kind, rows[node, source]), []).append(operation)
        return placed

    def sparse_genotype(
        self, scores: Mapping[str, Tensor], threshold: float, options: int = 1, every: bool = False
    ) -> Genotype:
        """Discretise: keep the options that reach a threshold; see `edges_above`. Absent nodes are no outputs.

        Raises:
            GenotypeError: A cell is left without an edge, or a strength is not a number.
        """
        cells = edges_above(self._cells, scores, threshold, options, every)
        for name, edges in cells.items():
            if not edges:
                largest = max(max(row) for row in strengths_of(scores, name))
                raise GenotypeError(
                    f"no operation of the {name} cell reaches {threshold:g}, the strongest is at {largest:.3g}"
                )
        return Genotype(
            self.name, cells, {name: tuple(sorted({n for n, _, _ in edges})) for name, edges in cells.items()}
        )


def edge_choice(choice: Choice) -> Choice:
    """Build the choice of edges: a row for each node, in the order of `rows_of_node`, its options the incoming edges.

    An option is named by the node that the edge leaves. A row has several sources; `sources` holds the first.
    """
    sources = [[choice.sources[row] for row in rows] for rows in choice.rows_of_node.values()]
    return Choice(
        edge_key(choice.name),
        "edge",
        tuple(tuple(map(str, row)) for row in sources),
        tuple(row[0] for row in sources),
        tuple(choice.rows_of_node),
    )
