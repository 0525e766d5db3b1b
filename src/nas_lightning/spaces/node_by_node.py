"""The fast engine (`engine=fast`): compute a cell node by node, and all that edges share once.

The reference (`edge_by_edge`) computes each edge by itself. This engine uses what an edge by itself cannot see:

- Edges that leave one node share its ReLU, pools with their batch statistics, strided slices and phases (`SourceNode`).
- The mixing weight, the weight of the edge and the normalisation that ends an operation are one scale, since all three
  are affine once the statistics are known; weighted outputs are never written (`normed_sums`).
- What enters a node is summed before it is shuffled or put back from phases: both permute channels or pixels, and a
  permutation commutes with a sum. They are done once a node instead of once an edge.
- The option `none` and inactive options are skipped, not multiplied by 0: they cost nothing, forward and backward, and
  move no buffer. Which options are active is an argument, as in the reference, and never inferred from a weight of 0,
  because a weight of 0 can have a gradient.

These identities are exact: values, gradients and buffers are those of `edge_by_edge` up to rounding. Draws are keyed,
so they are the same, and noise is never shared between edges.

A hook that acts on an operation or an edge gets its output as it would there; see `Hooks.acts_on`. Operations that are
not made of the known parts, or on which a user has registered hooks, are called as they are (`known_operations`).
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
from nas_lightning.spaces.node_sum import NodeSum
from nas_lightning.spaces.norm_statistics import PendingUpdates
from nas_lightning.spaces.operation_terms import add_operation, in_contiguous_layout
from nas_lightning.spaces.operations import Zero
from nas_lightning.spaces.partial import join
from nas_lightning.spaces.source_node import SourceNode


def node_by_node(cell: MixedCell, inputs: list[Tensor], mix: Mix) -> list[Tensor]:
    """Compute all nodes of a cell, equal to those of `edge_by_edge` up to rounding."""
    return _CellPass(cell, inputs, mix).run()


class _CellPass:
    """One forward pass of a cell."""

    def __init__(self, cell: MixedCell, inputs: list[Tensor], mix: Mix) -> None:
        self.cell, self.mix = cell, mix
        first = self._edge(0)
        self.channels, self.divisor = first.edge.channels, first.partial_channels
        self.edge_hooks = [part for part in mix.regularizers if _acts_on_edges(part)]
        weights = mix.weights
        self.factors: list[Tensor | None] = [None] * len(cell.edges)
        if mix.edge_weights is not None:
            places = [(n, p) for n, rows in enumerate(cell.choice.rows_of_node.values()) for p in range(len(rows))]
            factors = mix.edge_weights[tuple(torch.tensor(places).T)]
            self.factors = list(factors.unbind())
            # Scaling an edge's sum is scaling its terms, unless a hook, which may do anything, stands between the two.
            if not self.edge_hooks:
                weights = weights * factors[:, None]
        self.weights = [row.unbind() for row in weights.unbind()]
        self.updates = PendingUpdates()
        self.nodes = list(inputs)
        self.sources = [SourceNode(x, self.channels) for x in inputs]

    def run(self) -> list[Tensor]:
        """Compute inputs and intermediate nodes, each [B, C·K, H, W]."""
        dtype = self.nodes[0].dtype
        for node, rows in self.cell.choice.rows_of_node.items():
            total = self._node(rows)
            if total is None:  # every edge into the node is switched off
                total = self.cell.nothing[str(node)](self.nodes[self.cell.choice.sources[rows[0]]])
            total = total.to(dtype)  # sums of low precision are in float32
            self.nodes.append(total)
            self.sources.append(SourceNode(total, self.channels))
        self.updates.apply()
        return self.nodes

    def _node(self, rows: list[int]) -> Tensor | None:
        """Sum all edges into a node."""
        summands = [y for y in self._summands(rows) if y is not None]
        return _total(summands) if summands else None

    def _summands(self, rows: list[int]) -> Iterator[Tensor | None]:
        """Yield the outputs of edges with hooks one by one, then the sum of all others."""
        merged: list[int] = []
        for row in rows:
            edge = self._edge(row)
            if is_hooked(edge):
                y = edge(in_contiguous_layout(self._source(row).whole), *self.mix.of_row(row))
            elif self.edge_hooks:
                y = self._edges([row])
                if y is not None:
                    for part in self.edge_hooks:
                        y = part.on_edge(y, self._source(row).whole, edge.edge)
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
        total = NodeSum()
        for row in rows:
            for option, active in enumerate(self.mix.active[row]):
                if active:
                    self._add_option(total, row, option)
        y = total.value()
        if y is None:  # nothing but `none`
            y = Zero(self._edge(rows[0]).edge.stride)(self._source(rows[0]).x)
        # The sum has the weights of the edges already; offsets and bypassing channels are no terms of it.
        weighted = (lambda row, y: y) if self.edge_hooks else self._factored
        if self.mix.offsets is not None:
            offsets = self.mix.offsets
            y = y + _total([weighted(row, offsets[row]) for row in rows])
        if self.divisor > 1:
            bypassing = [weighted(row, self._bypass(row)) for row in rows]
            y = join(y, _total(bypassing), self.divisor)
        return y

    def _add_option(self, total: NodeSum, row: int, option: int) -> None:
        """Add one candidate operation with its mixing weight."""
        edge = self._edge(row)
        name, operation, source = edge.names[option], edge.operations[option], self._source(row)
        weight = self.weights[row][option]
        hooks = [part for part in self.mix.regularizers if _acts_on(part, name)]
        if not hooks:
            add_operation(total, operation, source, weight, self.updates)
            return
        # A hook gets the output itself: the operation is a sum of its own, without the mixing weight.
        alone = NodeSum()
        add_operation(alone, operation, source, None, self.updates)
        y = alone.value()
        if y is None:
            y = operation(source.x)
        for part in hooks:
            y = part.on_op(y, name, edge.edge)
        total.add(y, weight)

    def _factored(self, row: int, y: Tensor) -> Tensor:
        """Multiply by the weight of the edge, if edges have weights."""
        factor = self.factors[row]
        return y if factor is None else factor * y

    def _bypass(self, row: int) -> Tensor:
        return self._source(row).bypass(self.channels, self._edge(row).edge.stride)

    def _edge(self, row: int) -> MixedOperation:
        edge = self.cell.edges[row]
        assert isinstance(edge, MixedOperation)
        return edge

    def _source(self, row: int) -> SourceNode:
        return self.sources[self.cell.choice.sources[row]]


def _total(tensors: list[Tensor]) -> Tensor:
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
