"""The contract of regularizers: hooks inside the supernet, neutral by default, so that a part overrides only some."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from nas_lightning.core.bilevel import Tensors
from nas_lightning.core.choices import Mixing
from nas_lightning.core.part import Part
from nas_lightning.core.space import EdgeInfo, SearchSpace


class Regularizer(Part):
    """Hooks inside the supernet; the base class changes nothing.

    A part with learnable parameters is a module as well: `class Mine(Regularizer, nn.Module)`.

    Attributes:
        adjustable: Values that a control may strengthen during a search, and the bound that each must stay below.
        graphable: `on_op` and `on_edge` may be captured in a CUDA graph: they read no number from the device, and what
            they draw, and numbers that change between epochs, go through `core.draws`. A subclass that overrides a hook
            says so anew.
        at_mean: `penalty` sees the relaxation's mean instead of the mixing weights of the pass, which may be drawn.
    """

    key = "regularizer"
    adjustable: ClassVar[dict[str, float]] = {}
    graphable: ClassVar[bool] = False
    at_mean: ClassVar[bool] = False

    def build(self, space: SearchSpace) -> SearchSpace:
        """Return the space as this part changes it (further choices, other widths), before the supernet is built."""
        return space

    def check(self, module: Any) -> None:
        """Refuse a search that the part cannot act in, before anything is trained.

        Args:
            module: The search module of a stage of the search.

        Raises:
            ConfigError: The other parts of the search leave it nothing to act on.
        """

    def build_edge(self, edge: EdgeInfo, channels: int) -> None:
        """Build what the part keeps for an edge, such as a branch; called for every edge of a supernet that is built.

        Args:
            edge: Its place.
            channels: Channels of the nodes that it joins; with partial channels the operations see fewer.
        """

    def on_op(self, y: Tensor, op: str, edge: EdgeInfo) -> Tensor:
        """Change the output [B, C, H, W] of one candidate operation, never in place."""
        return y

    def on_edge(self, y: Tensor, x: Tensor, edge: EdgeInfo) -> Tensor:
        """Change the mixed output [B, C, H, W] of an edge, never in place; `x` is the edge's input [B, C', H', W']."""
        return y

    def acts_on(self, op: str) -> bool:
        """Return whether `on_op` must now be called for this operation, to change or to read its output."""
        return type(self).on_op is not Regularizer.on_op

    def acts_on_edges(self) -> bool:
        """Return whether `on_edge` must now be called, to change or to read the outputs of edges."""
        return type(self).on_edge is not Regularizer.on_edge

    def statement(self) -> Hashable:
        """Return what the hooks decide in Python besides whether they act; each value has a graph of its own."""
        return None

    def on_images(self, images: Tensor) -> Tensor:
        """Change the normalised, augmented images [B, C, H, W] of a batch, once, before any step uses them."""
        return images

    def alters_images(self) -> bool:
        """Return whether `on_images` does anything: then the data must be images."""
        return type(self).on_images is not Regularizer.on_images

    def penalty(self, arch: Tensors, mixing: Mixing, kept: Mapping[str, Tensor]) -> Tensor | None:
        """Return a term that is added to the architecture loss, a scalar, or None; the terms of all parts add up.

        Args:
            arch: Architecture parameters by choice, each [R, O].
            mixing: The mixing weights that were made of them for this pass, or their mean; each [R, O].
            kept: Options that still take part, boolean [R, O] by choice, on the CPU; a removed row has none.
        """
        return None

    def at_epoch(self, search_epoch: int) -> None:
        """Follow schedules from the absolute search epoch; called before each epoch, also after a rollback."""

    def metrics(self) -> dict[str, float]:
        """Return further columns of metrics.csv and their values at the end of an epoch."""
        return {}

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Return learnable parameters: they are trained with the weights and kept in the checkpoint."""
        return nn.Module.parameters(self, recurse) if isinstance(self, nn.Module) else iter(())
