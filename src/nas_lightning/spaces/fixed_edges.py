"""Base of spaces whose edges cannot be weighed: partial channels vary, edge weights are refused."""

from copy import copy
from typing import Any, ClassVar, Self

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.space import SearchSpace


class FixedEdges(SearchSpace):
    """A space that has no weights of edges.

    Attributes:
        partial_channels: Divisor K of the channels that go through the operations of the supernet.
        edge_weights: False.
        no_edge_weights: Why there are none, for the message.
    """

    name: str
    partial_channels: int = 1
    edge_weights = False
    no_edge_weights: ClassVar[str]

    def variant(self, **changes: Any) -> Self:
        """Return a copy with another `partial_channels`: another supernet, the same genotypes.

        Raises:
            ConfigError: Edge weights are asked for.
        """
        other = copy(self)
        for name, value in changes.items():
            assert name in ("partial_channels", "edge_weights"), name
            if name == "partial_channels":
                other.partial_channels = value
            elif value:
                raise ConfigError(
                    f"space={self.name}: {self.no_edge_weights}; leave the edge weights out,"
                    " ~regularizer.edge_normalisation, or use another space"
                )
        return other
