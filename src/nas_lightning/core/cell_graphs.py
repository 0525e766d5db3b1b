"""The graph of a cell, with operations in its nodes, as encoders and predictors read it.

A node for each input, for each operation and for the output. An operation is fed by the input that its edge leaves, or
by all operations whose outputs are summed in the node that its edge leaves; the output is fed by the operations into
the nodes that are joined. On NAS-Bench-201 these are the eight nodes of arch2vec, on cells of DARTS its eleven.

Sources: Yan et al., Does unsupervised architecture representation learning help NAS? (arch2vec, NeurIPS 2020), released
code. Deviation: nothing enters or leaves an operation `none`, so that cells which compute the same have isomorphic
graphs more often; there it is linked like any other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from nas_lightning.core.genotypes import Edge

OUTPUT = "output"
NONE = "none"


def input_label(number: int) -> str:
    """Return the label of an input.

    >>> input_label(1)
    'input 1'
    """
    return f"input {number}"


@dataclass(frozen=True)
class CellGraph:
    """A directed graph without circles.

    Args:
        labels: The label of each node: inputs first, then operations, the output last.
        links: Pairs (from, to) of nodes.
    """

    labels: tuple[str, ...]
    links: tuple[tuple[int, int], ...]

    @classmethod
    def of_cell(cls, edges: Sequence[Edge], concat: Sequence[int], inputs: int) -> "CellGraph":
        """Return the graph of a cell of edges.

        Args:
            edges: Its edges (node, operation, source).
            concat: Nodes that are joined into its output.
            inputs: Number of its inputs, the nodes 0, 1, ….
        """
        into: dict[int, list[int]] = {number: [number] for number in range(inputs)}
        for place, (node, op, _) in enumerate(edges, start=inputs):
            into.setdefault(node, [])
            into[node] += [place] if op != NONE else []
        output = inputs + len(edges)
        links = [
            (feeding, place)
            for place, (_, op, source) in enumerate(edges, start=inputs)
            for feeding in (into.get(source, []) if op != NONE else [])
        ]
        links += [(feeding, output) for node in concat for feeding in into.get(node, [])]
        labels = (*map(input_label, range(inputs)), *(op for _, op, _ in edges), OUTPUT)
        return cls(labels, tuple(links))

    @cached_property
    def paths(self) -> frozenset[tuple[str, ...]]:
        """The labels on each way from an input to the output, that of the input first; the output's is left out."""
        leaving: dict[int, list[int]] = {}
        for one, other in self.links:
            leaving.setdefault(one, []).append(other)
        last = len(self.labels) - 1

        def ways(node: int) -> Iterator[tuple[str, ...]]:
            for following in leaving.get(node, ()):
                if following == last:
                    yield (self.labels[node],)
                else:
                    yield from ((self.labels[node], *way) for way in ways(following))

        starts = [node for node, label in enumerate(self.labels) if label.startswith("input ")]
        return frozenset(way for start in starts for way in ways(start))
