"""Notice training images without contrast, and other images that are unlike them."""

import logging

import torch
from torch import Tensor

from nas_lightning.core.errors import DataError

log = logging.getLogger(__name__)

FAINT = 32
"""Grey levels of 256: training images whose pixels all lie within fewer are reported."""
FACTOR = 8
"""How many times the deviation of other images may be larger or smaller than that of the training images."""
DEVIATIONS = 3
"""How many deviations of the training images lie at most between their mean and that of other images."""


def require_contrast(images: Tensor, where: str) -> None:
    """Refuse training images whose pixels are all equal; warn about those of hardly any contrast.

    Args:
        images: uint8 [N, C, H, W].
        where: the override that names them, for the messages.

    Raises:
        DataError: All pixels of a channel are equal, in every channel.
    """
    lows, highs = images.amin((0, 2, 3)).int(), images.amax((0, 2, 3)).int()
    low, high = int(lows.min()), int(highs.max())
    words = f"{where}: the pixels of the training images, from 0 (black) to 255 (white), are "
    if torch.equal(lows, highs):
        raise DataError(
            f"{words}all {', '.join(map(str, lows.unique().tolist()))}; save them with their full range in 8 bits,"
            " or, with data=image_folder, give their scale, data.white=VALUE, or another background,"
            " data.background=LEVEL"
        )
    if high - low < FAINT:
        log.warning("%sall between %d and %d: is their scale right? See data.white", words, low, high)


def unlike(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """Return how images differ from the training images by far more than chance; nothing if they do not.

    Channels are pooled, since a single one may well be empty in either.

    Args:
        images: uint8 [N, C, H, W].
        mean: of the training images, one a channel, where 1 is white.
        std: their deviation, likewise.
    """
    values = images.double() / 255
    centre = torch.tensor(mean, dtype=torch.float64)
    trained_mean = float(centre.mean())
    spread = torch.tensor(std, dtype=torch.float64)
    spread = torch.where(spread > 0.5, 0.0, spread)  # 1 stands for a constant channel; 0.5 is the largest possible
    trained = float((spread.square() + (centre - trained_mean).square()).mean().sqrt())
    found_mean, found = float(values.mean()), float(values.std(correction=0))
    near = abs(found_mean - trained_mean) <= DEVIATIONS * trained
    if near and trained / FACTOR <= found <= trained * FACTOR:
        return ""
    return (
        f"mean {found_mean:.3f} and deviation {found:.3f}, the training images {trained_mean:.3f} and {trained:.3f}"
        " (0 is black, 1 is white)"
    )


def warn_unlike(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...], what: str) -> None:
    """Warn about images that differ from the training images by far more than chance.

    Args:
        images: uint8 [N, C, H, W].
        mean: of the training images, see `unlike`.
        std: likewise.
        what: name of the images.
    """
    words = unlike(images, mean, std)
    if words:
        log.warning("%s are unlike the training images: they have %s; is their scale the same?", what, words)
