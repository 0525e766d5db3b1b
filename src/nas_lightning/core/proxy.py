"""The contract of zero-cost proxies, which score a network before it is trained.

Shapes: B images, columns or pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from nas_lightning.core.batches import Inputs
from nas_lightning.core.part import Part
from nas_lightning.core.space import Kind


@dataclass(frozen=True)
class Sample:
    """What networks are scored on.

    Args:
        inputs: A batch of training inputs, of images [B, C, H, W].
        targets: Their targets, of images [B].
        loss: The loss of the objective: outputs, targets → scalar.
        unit: Inputs that multiply-accumulates are counted for: one image [1, C, H, W], one pair, one token.
    """

    inputs: Inputs
    targets: Tensor
    loss: Callable[[Any, Tensor], Tensor]
    unit: Inputs


class Proxy(Part):
    """A score of a network with its initial weights; larger promises a better network after training.

    Attributes:
        inputs: Kinds of data of the networks that it can score.
        reads_batch: Whether it reads `Sample.inputs` and `targets`; False: `Sample.unit` alone, of which only the shape
            counts.
    """

    key = "proxy"
    inputs: ClassVar[tuple[Kind, ...]] = ("images", "text", "stereo")
    reads_batch: ClassVar[bool] = True

    def __call__(self, network: nn.Module, sample: Sample) -> float:
        """Return the score; weights, buffers and modes of the network are left as they are.

        Args:
            network: A discrete network without auxiliary head, as it is initialised.
            sample: The batch, on the device of the network.
        """
        raise NotImplementedError
