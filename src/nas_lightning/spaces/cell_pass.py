"""One forward pass of a cell, whatever way the operations of its edges are summed.

Around the operations every engine that merges edges does the same: hooks on edges, offsets, weights of edges, channels
that bypass the operations. What an engine adds is the sum of the operations themselves.
Shapes: E edges, O options, B images, C channels of an operation, K the divisor of partial channels.
"""

from collections.abc import Iterator
from functools import reduce
from operator import add

import torch
from torch import Tensor

from nas_lightning.core.regularizer import Regularizer
from nas_lightning.spaces.known_operations import is_hooked
from nas_lightning.spaces.mixed import Mix, MixedCell, MixedOperation
from nas_lightning.spaces.norm_statistics import PendingUpdates
from nas_lightning.spaces.operation_terms import in_contiguous_layout
from nas_lightning.spaces.operations import Zero
from nas_lightning.spaces.partial import join
from nas_lightning.spaces.source_node import SourceNode


class CellPass:
    """One forward pass of a cell.

    Args:
        cell: The cell.
        inputs: Its inputs, each [B, C·K, H, W].
        mix: Mixing weights, active options and hooks.

    Attributes:
        weights: Mixing weights [E, O], times those of the edges where no hook on an edge stands between the two.
        factors: The weight of each edge; None where edges have none.
        nodes: The nodes computed so far, by their number.
        sources: The same nodes as the edges that leave them see them.
        updates: Collects the running statistics of shared normalisations.
    """

    def __init__(self, cell: MixedCell, inputs: list[Tensor], mix: Mix) -> None:
        self.cell, self.mix = cell, mix
        first = self.edge(0)
        self.channels, self.divisor = first.edge.channels, first.partial_channels
        self.edge_hooks = [part for part in mix.regularizers if _acts_on_edges(part)]
        self.weights = mix.weights
        self.factors: list[Tensor | None] = [None] * len(cell.edges)
        if mix.edge_weights is not None:
            lengths = map(len, cell.choice.rows_of_node.values())
            of_nodes = zip(mix.edge_weights.unbind(), lengths, strict=True)
            factors = torch.cat([weights[:length] for weights, length in of_nodes])
            self.factors = list(factors.unbind())
            # Scaling an edge's sum is scaling its terms, unless a hook, which may do anything, stands between the two.
            if not self.edge_hooks:
                self.weights = self.weights * factors[:, None]
        self.updates = PendingUpdates()
        self.nodes: dict[int, Tensor] = {}
        self.sources: dict[int, SourceNode] = {}
        for node, x in enumerate(inputs):
            self._add(node, x)

    def order(self) -> list[int]:
        """Return the intermediate nodes in an order in which each follows its sources."""
        return list(self.cell.choice.rows_of_node)

    def sum_of(self, rows: list[int]) -> Tensor | None:
        """Sum the weighted operations of some edges into one node, [B, C, H, W]; None if all of them are `none`."""
        raise NotImplementedError

    def run(self) -> list[Tensor]:
        """Compute inputs and intermediate nodes, each [B, C·K, H, W]."""
        dtype = self.nodes[0].dtype
        for node in self.order():
            rows = self.cell.choice.rows_of_node[node]
            total = self._node(rows)
            if total is None:  # every edge into the node is switched off
                total = self.cell.nothing[str(node)](self.nodes[self.cell.choice.sources[rows[0]]])
            self._add(node, total.to(dtype))  # sums of low precision are in float32
        self.updates.apply()
        return [self.nodes[node] for node in sorted(self.nodes)]

    def edge(self, row: int) -> MixedOperation:
        """Return the mixed operation of a row."""
        edge = self.cell.edges[row]
        assert isinstance(edge, MixedOperation)
        return edge

    def source(self, row: int) -> SourceNode:
        """Return the node that the edge of a row leaves."""
        return self.sources[self.cell.choice.sources[row]]

    def hooks_on(self, operation: str) -> list[Regularizer]:
        """Return the regularizers that now act on an operation."""
        return [part for part in self.mix.regularizers if _acts_on(part, operation)]

    def _add(self, node: int, x: Tensor) -> None:
        self.nodes[node], self.sources[node] = x, SourceNode(x, self.channels)

    def _node(self, rows: list[int]) -> Tensor | None:
        """Sum all edges into a node."""
        summands = [y for y in self._summands(rows) if y is not None]
        return total_of(summands) if summands else None

    def _summands(self, rows: list[int]) -> Iterator[Tensor | None]:
        """Yield the outputs of edges with hooks one by one, then the sum of all others."""
        merged: list[int] = []
        for row in rows:
            edge = self.edge(row)
            if is_hooked(edge):
                y = edge(in_contiguous_layout(self.source(row).whole), *self.mix.of_row(row))
            elif self.edge_hooks:
                y = self._edges([row])
                if y is not None:
                    for part in self.edge_hooks:
                        y = part.on_edge(y, self.source(row).whole, edge.edge)
            else:
                merged.append(row)
                continue
            yield y if y is None else self._factored(row, y)
        yield self._edges(merged)

    def _edges(self, rows: list[int]) -> Tensor | None:
        """Sum some edges into a node, with the weights of the edges where no hook follows; None if none is active."""
        rows = [row for row in rows if any(self.mix.active[row])]
        if not rows:
            return None
        y = self.sum_of(rows)
        if y is None:
            y = Zero(self.edge(rows[0]).edge.stride)(self.source(rows[0]).x)
        # The sum has the weights of the edges already; offsets and bypassing channels are no terms of it.
        weighted = (lambda row, y: y) if self.edge_hooks else self._factored
        if self.mix.offsets is not None:
            offsets = self.mix.offsets
            y = y + total_of([weighted(row, offsets[row]) for row in rows])
        if self.divisor > 1:
            bypassing = [weighted(row, self._bypass(row)) for row in rows]
            y = join(y, total_of(bypassing), self.divisor)
        return y

    def _factored(self, row: int, y: Tensor) -> Tensor:
        """Multiply by the weight of the edge, if edges have weights."""
        factor = self.factors[row]
        return y if factor is None else factor * y

    def _bypass(self, row: int) -> Tensor:
        return self.source(row).bypass(self.channels, self.edge(row).edge.stride)


def total_of(tensors: list[Tensor]) -> Tensor:
    """Sum at least one tensor."""
    return reduce(add, tensors)  # `sum` would begin with 0 + the first


def _acts_on(part: Regularizer, operation: str) -> bool:
    return not _declares(part, "acts_on", "on_op") or part.acts_on(operation)


def _acts_on_edges(part: Regularizer) -> bool:
    return not _declares(part, "acts_on_edges", "on_edge") or part.acts_on_edges()


def _declares(part: Regularizer, declaration: str, hook: str) -> bool:
    """Check whether a part declares when its hook acts.

    A class that overrides the hook and inherits the declaration does not: the declaration was made for another hook.
    """
    for base in type(part).__mro__:
        if declaration in vars(base) or hook in vars(base):
            return declaration in vars(base)
    return False
