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

from torch import Tensor

from nas_lightning.spaces.cell_pass import CellPass
from nas_lightning.spaces.mixed import Mix, MixedCell
from nas_lightning.spaces.node_sum import NodeSum
from nas_lightning.spaces.operation_terms import add_operation


def node_by_node(cell: MixedCell, inputs: list[Tensor], mix: Mix) -> list[Tensor]:
    """Compute all nodes of a cell, equal to those of `edge_by_edge` up to rounding."""
    return _NodeByNode(cell, inputs, mix).run()


class _NodeByNode(CellPass):
    """A pass that collects what enters a node in one `NodeSum`."""

    def __init__(self, cell: MixedCell, inputs: list[Tensor], mix: Mix) -> None:
        super().__init__(cell, inputs, mix)
        self._scalars = [row.unbind() for row in self.weights.unbind()]

    def sum_of(self, rows: list[int]) -> Tensor | None:
        """Sum the weighted operations of some edges into one node, [B, C, H, W]; None if all of them are `none`."""
        total = NodeSum()
        for row in rows:
            for option, active in enumerate(self.mix.active[row]):
                if active:
                    self._add_option(total, row, option)
        return total.value()

    def _add_option(self, total: NodeSum, row: int, option: int) -> None:
        """Add one candidate operation with its mixing weight."""
        edge = self.edge(row)
        name, operation, source = edge.names[option], edge.operations[option], self.source(row)
        weight = self._scalars[row][option]
        hooks = self.hooks_on(name)
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
