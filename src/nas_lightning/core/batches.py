"""What networks that read text or pairs of images take and return, beside plain tensors.

Shapes: T tokens of B columns, V words, H hidden units; B pairs of images.
"""

from typing import NamedTuple

from torch import Tensor


class Chunk(NamedTuple):
    """Inputs of networks that read text.

    Args:
        tokens: T consecutive tokens of B columns, int64 [T, B].
        state: Hidden state before the first of them, [B, H]; None: zeros.
        rate: Factor on the learning rate of the step: length / nominal length.
    """

    tokens: Tensor
    state: Tensor | None = None
    rate: float = 1.0


class Continued(NamedTuple):
    """Outputs of such networks.

    Args:
        logits: [T, B, V].
        state: After the last token, [B, H].
        hidden: Outputs of the cell before dropout, [T, B, H].
        dropped: After dropout, [T, B, H].
    """

    logits: Tensor
    state: Tensor
    hidden: Tensor
    dropped: Tensor


class Maps(NamedTuple):
    """Outputs of networks that predict maps at several scales.

    Args:
        scales: Each [B, 1, h, w], coarse to fine; the last is the prediction at full size.
    """

    scales: tuple[Tensor, ...]


Inputs = Tensor | Chunk
Outputs = Tensor | Continued | Maps
Batch = tuple[Inputs, Tensor]
