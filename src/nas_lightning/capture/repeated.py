"""A function of tensors that is called many times in a row with equal shapes, replayed from its second call on."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nas_lightning.capture.graphs import Graph, Graphs

Outputs = Sequence[Tensor | None]


class Repeated:
    """Computes `function`: eagerly at the first call, then by a graph.

    All other tensors that the function reads must stay where they are as long as this object is used, and be made
    within `graphs.beside()`, as must the autograd graph that it goes through: a backward pass runs on the stream of its
    forward pass, and only that of the graphs is captured.

    Args:
        function: Tensors → tensors, some of which may be None.
        graphs: Makes the graph.
    """

    def __init__(self, function: Callable[[Sequence[Tensor]], Outputs], graphs: Graphs) -> None:
        self._function = function
        self._graphs = graphs
        self._static: list[Tensor] | None = None
        self._graph: Graph | None = None
        self._found: Outputs = ()

    def __call__(self, given: Sequence[Tensor]) -> list[Tensor | None]:
        """Return the outputs for tensors of the shapes of the first call, in memory of their own.

        Raises:
            CaptureError: The function cannot be captured.
        """
        if self._static is None:  # initialises and chooses what must not be initialised or chosen in a capture
            self._static = [t.detach().clone() for t in given]
            with self._graphs.beside():
                return list(self._function(given))
        torch._foreach_copy_(self._static, [t.detach() for t in given])
        if self._graph is None:
            static = self._static
            self._graph = self._graphs.graph()
            self._found = self._graph.capture(lambda: self._function(static))
        self._graph.replay()
        return [None if t is None else t.clone() for t in self._found]
