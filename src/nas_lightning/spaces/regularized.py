"""Attach regularizers to a supernet, and call its cells."""

from typing import Any

from torch import Tensor, nn

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.recompute import recomputed
from nas_lightning.core.regularizer import Regularizer
from nas_lightning.spaces.mixed import MixedOperation


class Regularized(nn.Module):
    """A supernet whose operations and edges regularizers act on.

    Attributes:
        regularizers: The attached parts, in the order in which they act.
        learnable: Those of them that are modules; their parameters are trained and saved with the weights.
        recomputes: Whether cells are computed again in the backward pass, so that only images between cells are kept.
    """

    regularizers: tuple[Regularizer, ...] = ()
    recomputes = False

    def attach(self, regularizers: tuple[Regularizer, ...]) -> None:
        """Let these parts see every operation's and every edge's output; learnable ones join the weights.

        Raises:
            ConfigError: A part has parameters but is no nn.Module, so that it could not be saved or substituted.
        """
        edges = [module for module in self.modules() if isinstance(module, MixedOperation)]
        for part in regularizers:
            for edge in filter(lambda edge: edge.hooks_edge, edges):
                part.build_edge(edge.edge, edge.edge.channels * edge.partial_channels)
            if not isinstance(part, nn.Module) and any(True for _ in part.parameters()):
                raise ConfigError(f"regularizer {type(part).__name__} has parameters: it must be an nn.Module as well")
        self.regularizers = regularizers
        self.learnable = nn.ModuleList(part for part in regularizers if isinstance(part, nn.Module))

    def cell_output(self, cell: nn.Module, *args: Any) -> Tensor:
        """Return the output of a cell, which is computed again in the backward pass if cells are."""
        if self.recomputes:
            return recomputed(cell, *args, called=[part for part in self.regularizers if isinstance(part, nn.Module)])
        output: Tensor = cell(*args)
        return output
