"""A node as the edges that leave it see it: their common inputs and outputs are computed once.

Shapes: B images, C channels of an operation, K the divisor of partial channels; a node is [B, C·K, H, W].
"""

from collections.abc import Callable, Hashable
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

from nas_lightning.spaces.average_pool import pool_of
from nas_lightning.spaces.depthwise import even_and_odd, to_phases
from nas_lightning.spaces.matrices import by_hand
from nas_lightning.spaces.norm_statistics import normed_by_batch
from nas_lightning.spaces.partial import bypass

T = TypeVar("T")

_POOL_SETTINGS = (*nn.MaxPool2d.__constants__, *nn.AvgPool2d.__constants__)


class SourceNode:
    """A node and the tensors derived from it, each computed at its first use.

    Edges that leave one node have the same input, and candidate operations begin alike: with a ReLU, a pool without
    parameters, a strided slice. Autograd adds up the gradients of all uses before it passes the shared tensor, so the
    backward pass shares this work too.

    Args:
        x: The node, [B, C·K, H, W].
        channels: C: operations see the first C channels.
    """

    def __init__(self, x: Tensor, channels: int) -> None:
        self.whole = x
        self.x = x if x.shape[1] == channels else x[:, :channels]
        self._cache: dict[Hashable, object] = {}

    def _once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the result of the first call with this key."""
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]  # type: ignore[return-value]

    @property
    def relu(self) -> Tensor:
        """ReLU of the node, [B, C, H, W]."""
        return self._once("relu", lambda: F.relu(self.x))

    @property
    def phases(self) -> Tensor:
        """Phases of the ReLU, [4·B, C, H/2, W/2]."""
        return self._once("phases", lambda: to_phases(self.relu))

    def strided(self, first: int) -> Tensor:
        """Return every second row and column of the ReLU from `first` on, [B, C, H/2, W/2]."""
        if by_hand(self.relu):
            return self._once("even and odd", lambda: even_and_odd(self.relu))[first]
        return self._once(("strided", first), lambda: self.relu[:, :, first::2, first::2])

    def pooled(self, pool: nn.Module) -> Tensor:
        """Return the pool of the node; pools of equal settings are computed once."""
        return self._once(pool_settings(pool), lambda: pool_of(pool, self.x))

    def normed_pool(self, pool: nn.Module, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the pool normalised by its batch, and the statistics of the batch; see `normed_by_batch`.

        Normalisations of equal settings agree on the value, because they have no parameters, and differ only in their
        buffers. No buffer moves here: the caller passes the statistics on to those of each edge; see `PendingUpdates`.
        """
        key = ("normed", pool_settings(pool), norm.eps, norm.track_running_stats)
        return self._once(key, lambda: normed_by_batch(norm, self.pooled(pool)))

    def bypass(self, channels: int, stride: int) -> Tensor:
        """Return the channels that bypass the operations, all but the first `channels`."""
        return self._once(("bypass", stride), lambda: bypass(self.whole, channels, stride))


def pool_settings(pool: nn.Module) -> tuple[Hashable, ...]:
    """Return all that two equal pools have in common; their `repr` leaves some of it out."""
    return (type(pool), *(repr(getattr(pool, name, None)) for name in _POOL_SETTINGS))
