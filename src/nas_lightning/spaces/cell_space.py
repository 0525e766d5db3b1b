"""Cell spaces as data: the candidate operations of each edge, and how many edges a node keeps."""

from collections.abc import Mapping, Sequence
from copy import copy
from itertools import combinations
from math import prod
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Generator, Tensor

from nas_lightning.core.choices import Choice, Mixing, edge_key
from nas_lightning.core.errors import ConfigError, GenotypeError
from nas_lightning.core.genotypes import Edge, Genotype
from nas_lightning.spaces import macro
from nas_lightning.spaces.network import CellNetwork
from nas_lightning.spaces.operations import OPERATIONS
from nas_lightning.spaces.sampling import sample_path
from nas_lightning.spaces.supernet import CellSupernet

CELL_TYPES = ("normal", "reduce")
Operations = Sequence[str] | Mapping[str, Sequence[Sequence[str]]]


class CellSpace:
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
        self.partial_channels = 1
        self.edge_weights = False
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
                raise ConfigError(f"space.operations={list(row)}: an operation stands there twice")
            unknown = [op for op in row if op not in OPERATIONS]
            if unknown or not row:
                raise ConfigError(
                    f"space.operations: unknown operation {unknown[0] if unknown else '(none given)'};"
                    f" allowed: {', '.join(OPERATIONS)}"
                )
        return tuple(tuple(row) for row in lists)

    def variant(self, **changes: Any) -> Self:
        """A copy with another `partial_channels` or `edge_weights`: another supernet, the same genotypes."""
        other = copy(self)
        for name, value in changes.items():
            assert name in ("partial_channels", "edge_weights"), name
            setattr(other, name, value)
        other.choices = dict(self._cells)
        if other.edge_weights:
            other.choices |= {edge_key(cell): _edge_choice(choice) for cell, choice in self._cells.items()}
        return other

    @property
    def _cells(self) -> dict[str, Choice]:
        """The choices of operations, by cell type."""
        return {cell: self.choices[cell] for cell in CELL_TYPES}

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
        """The supernet of this space; see `CellSupernet`.

        Raises:
            ConfigError: An unknown engine, a channel count that is odd or that `partial_channels` does not divide, or
                an unknown stem.
        """
        return CellSupernet(self, num_classes, in_channels, init_channels, layers, stem, engine)

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
        """The discrete network of a genotype; see `CellNetwork`.

        Raises:
            ConfigError: The genotype does not belong to this space, an odd channel count or an unknown stem.
        """
        return CellNetwork(self, genotype, num_classes, in_channels, init_channels, layers, auxiliary, stem)

    def genotype(self, scores: Mapping[str, Tensor], keep: int | None = None) -> Genotype:
        """Discretise: the best option of each edge but `none`, and of each node the strongest edges by that option.

        Ties go to the lower option and to the lower source; edges stand in the order of their strength
        (the rule of the DARTS paper and code). Where edges have weights, the strength of an edge is its weight times
        that of its option (the rule of the PC-DARTS code).

        Args:
            scores: Strength of the options by choice, each [E, O], and of the edges into each node, each [N, S],
                where they are weighted.
            keep: Edges a node keeps; None takes the space's own number.

        Raises:
            GenotypeError: A strength is not a number.
        """
        cells: dict[str, tuple[Edge, ...]] = {}
        for name, choice in self._cells.items():
            table = _as_numbers(scores, name)
            weights = _as_numbers(scores, edge_key(name)) if edge_key(name) in scores else None
            edges: list[Edge] = []
            for node_row, (node, rows) in enumerate(choice.rows_of_node.items()):
                ranked: list[tuple[float, str, int]] = []
                for place, row in enumerate(rows):
                    candidates = [
                        (score, op) for score, op in zip(table[row], choice.options[row], strict=False) if op != "none"
                    ]
                    if candidates:
                        strength, op = max(candidates, key=lambda pair: pair[0])  # max keeps the first of equals
                        strength *= 1.0 if weights is None else weights[node_row][place]
                        ranked.append((strength, op, choice.sources[row]))
                ranked.sort(key=lambda edge: -edge[0])  # stable: the lower source stays first among equals
                edges += [(node, op, source) for _, op, source in ranked[: keep or choice.keep]]
            cells[name] = tuple(edges)
        return Genotype(self.name, cells, dict(self.concat))

    def sample(self, generator: Generator | None = None, none: bool = True) -> Mixing:
        """A uniformly drawn path, zeros and ones [E, O] by choice, on the CPU; see `sample_path`.

        Args:
            generator: What to draw from; None is torch's global generator.
            none: Whether the operation `none` is drawn like any other, as in the released code of random search.
        """
        return sample_path(self.choices, generator, none)

    def genotype_of(self, path: Mixing) -> Genotype:
        """The genotype whose edges are exactly those of a path, `none` included, in the order of the rows.

        Args:
            path: By choice [E, O]: which option of which edge is taken, anything but zero counting as taken.

        Raises:
            GenotypeError: An edge has several options, or one that it does not offer, or a node has no edge.
        """
        cells: dict[str, tuple[Edge, ...]] = {}
        for name, choice in self._cells.items():
            edges: list[Edge] = []
            for row, weights in enumerate(path[name].tolist()):
                taken = [column for column, weight in enumerate(weights) if weight != 0]
                node, source, options = choice.nodes[row], choice.sources[row], choice.options[row]
                if len(taken) > 1 or any(column >= len(options) for column in taken):
                    raise GenotypeError(
                        f"path of space '{self.name}': the edge from {source} to {node} of the {name} cell takes"
                        f" options {taken}; one of {len(options)} can be taken"
                    )
                edges += [(node, options[column], source) for column in taken]
            empty = sorted(set(choice.nodes) - {node for node, _, _ in edges})
            if empty:
                raise GenotypeError(f"path of space '{self.name}': no edge enters nodes {empty} of the {name} cell")
            cells[name] = tuple(edges)
        return Genotype(self.name, cells, dict(self.concat))

    def validate(self, genotype: Genotype) -> None:
        """Check that a genotype can be built in this space.

        Raises:
            GenotypeError: It names another set of cells, an edge or an operation that this space does not have, or a
                node without inputs.
        """
        where = f"genotype of space '{genotype.space}' does not belong to space '{self.name}'"
        hint = "" if genotype.space == self.name else f"; choose its own space: space={genotype.space}"
        for field in ("cells", "concat"):
            given = set(getattr(genotype, field))
            if given != set(CELL_TYPES):
                raise GenotypeError(f"{where}: it has {field} for {sorted(given)}, not for {sorted(CELL_TYPES)}{hint}")
        for name, choice in self._cells.items():
            allowed = {
                (node, source): options
                for node, source, options in zip(choice.nodes, choice.sources, choice.options, strict=True)
            }
            for node, op, source in genotype.cells[name]:
                if op not in allowed.get((node, source), ()):
                    options = ", ".join(allowed.get((node, source), ())) or "no edge at all"
                    raise GenotypeError(
                        f"{where}: {name} cell has {op} from {source} to {node}, the space has {options} there{hint}"
                    )
            fed = [node for node, _, _ in genotype.cells[name]]
            links = [(node, source) for node, _, source in genotype.cells[name]]
            twice = next((link for link in links if links.count(link) > 1), None)
            if twice is not None:
                raise GenotypeError(f"{where}: {name} cell has the edge from {twice[1]} to {twice[0]} twice{hint}")
            if set(fed) != set(choice.nodes) or fed != sorted(fed):
                raise GenotypeError(
                    f"{where}: {name} cell feeds nodes {fed}; every node of {sorted(set(choice.nodes))} needs an"
                    f" input, in order{hint}"
                )
            concat = genotype.concat[name]
            if len(set(concat)) < len(concat) or not concat or not set(genotype.concat[name]) <= set(choice.nodes):
                raise GenotypeError(f"{where}: {name} cell concatenates {genotype.concat[name]}{hint}")

    def count(self) -> int:
        """Number of genotypes that `genotype` can return."""
        total = 1
        for choice in self._cells.values():
            for rows in choice.rows_of_node.values():
                sizes = [sum(op != "none" for op in choice.options[row]) for row in rows]
                sizes = [size for size in sizes if size]  # an edge without operations is never kept
                keep = min(choice.keep or len(rows), len(sizes))
                total *= sum(prod(subset) for subset in combinations(sizes, keep))
        return total


def _edge_choice(choice: Choice) -> Choice:
    """The edges of a cell as options of the nodes that they enter: a row a node, in the order of `rows_of_node`.

    An option is named by the node that the edge leaves. A row has several sources, so `sources` tells the first.
    """
    sources = [[choice.sources[row] for row in rows] for rows in choice.rows_of_node.values()]
    return Choice(
        edge_key(choice.name),
        "edge",
        tuple(tuple(map(str, row)) for row in sources),
        tuple(row[0] for row in sources),
        tuple(choice.rows_of_node),
    )


def _as_numbers(scores: Mapping[str, Tensor], name: str) -> list[list[float]]:
    """A table of strengths.

    Raises:
        GenotypeError: A strength is not a number.
    """
    if torch.isnan(scores[name]).any():
        raise GenotypeError(
            f"the strengths of '{name}' are not numbers: the search diverged; lower search.weights.lr or"
            " search.arch.lr, or set search.weights.clip"
        )
    return scores[name].detach().double().cpu().tolist()
