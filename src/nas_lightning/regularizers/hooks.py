"""The neutral version of every hook, to inherit from so that a regularizer writes only what it changes."""

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from nas_lightning.core.protocols import EdgeInfo, SearchSpace


class Hooks:
    """Changes nothing.

    Attributes:
        adjustable: Values that a control may strengthen during a search, and below what they must stay.
    """

    adjustable: ClassVar[dict[str, float]] = {}

    def build(self, space: SearchSpace) -> SearchSpace:
        """The same space."""
        return space

    def on_op(self, y: Tensor, op: str, edge: EdgeInfo) -> Tensor:
        """The same output."""
        return y

    def on_edge(self, y: Tensor, edge: EdgeInfo) -> Tensor:
        """The same output."""
        return y

    def acts_on(self, op: str) -> bool:
        """Whether `on_op` may now change, or wants to see, the output of this operation: else it need not be called."""
        return type(self).on_op is not Hooks.on_op

    def acts_on_edges(self) -> bool:
        """Whether `on_edge` may now change, or wants to see, the outputs of edges: else it need not be called."""
        return type(self).on_edge is not Hooks.on_edge

    def on_images(self, images: Tensor) -> Tensor:
        """The same images."""
        return images

    def at_epoch(self, search_epoch: int) -> None:
        """Nothing to schedule."""

    def metrics(self) -> dict[str, float]:
        """Nothing to report."""
        return {}

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """None to learn, or those of the module that the part is as well (`class Mine(Hooks, nn.Module)`)."""
        return nn.Module.parameters(self, recurse) if isinstance(self, nn.Module) else iter(())
