"""MixUp and CutMix: steps on mixtures of two images, whose loss is the same mixture of the losses of their labels.

Source: Zhang et al., mixup (ICLR 2018), https://arxiv.org/abs/1710.09412, whose code mixes the losses as here; for the
cross-entropy, smoothed or not, that is the loss of the mixed labels. Yun et al., CutMix (ICCV 2019),
https://arxiv.org/abs/1905.04899. As in torchvision, all images of a batch share λ and the rectangle, each is mixed with
the one before it in the batch, whose order is random, and of two kinds each batch takes either with probability 1/2.
Shapes: B images, H rows, W columns.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas_lightning.core import draws


class Mixed(NamedTuple):
    """A mixed batch.

    Attributes:
        images: [B, C, H, W].
        partners: Targets of the images that were mixed in, [B].
        share: λ, what the targets of the images themselves count; those of the partners count 1 − λ.
    """

    images: Tensor
    partners: Tensor
    share: float


class Drawn(NamedTuple):
    """What is drawn for a batch.

    Attributes:
        kind: `mixup` or `cutmix`.
        share: λ before a rectangle is cut at the border.
        row: Of the rectangle's centre, a share of H.
        column: Likewise, of W.
    """

    kind: str
    share: float
    row: float = 0.0
    column: float = 0.0


def draw(mixup: float, cutmix: float) -> Drawn:
    """Draw the mixture of a batch in the open `draws.keyed` block, the same for all processes.

    Args:
        mixup: α of the distribution Beta(α, α) of MixUp's λ; 0 switches it off.
        cutmix: Likewise, of CutMix; one of both is on.
    """
    seed = int(torch.randint(2**62, (), generator=draws.generator("mixing")))
    rng = np.random.default_rng(seed)  # torch's Beta takes no generator
    choice = rng.random()
    kind = "cutmix" if cutmix and (not mixup or choice < 0.5) else "mixup"
    alpha = cutmix if kind == "cutmix" else mixup
    return Drawn(kind, float(rng.beta(alpha, alpha)), float(rng.random()), float(rng.random()))


def mix(images: Tensor, targets: Tensor, drawn: Drawn) -> Mixed:
    """Mix each image with the one before it, the first with the last.

    Args:
        images: [B, C, H, W].
        targets: [B].
        drawn: Kind and place of the mixture.
    """
    before, partners = images.roll(1, 0), targets.roll(1, 0)
    if drawn.kind == "mixup":
        return Mixed(images * drawn.share + before * (1 - drawn.share), partners, drawn.share)
    height, width = images.shape[-2:]
    row, column = int(drawn.row * height), int(drawn.column * width)
    half = 0.5 * (1 - drawn.share) ** 0.5
    rows = slice(max(row - int(half * height), 0), min(row + int(half * height), height))
    columns = slice(max(column - int(half * width), 0), min(column + int(half * width), width))
    mixed = images.clone()
    mixed[..., rows, columns] = before[..., rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return Mixed(mixed, partners, 1 - area / (height * width))
