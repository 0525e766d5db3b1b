"""Image transforms that torchvision lacks, or has only slowly, for one image and for a whole batch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2


class BatchTransform(ABC):
    """A transform of one image, or of a batch on any device.

    Called with one image [C, H, W] it draws from torch's global generator. `batch` takes the raw words of that
    generator instead, and returns the same images to the bit: see `keyed.KeyedWords`.

    Attributes:
        words: number of 32-bit words of the generator that one image needs.
    """

    words = 0

    @abstractmethod
    def __call__(self, image: Any) -> Any:
        """Transform one image [C, H, W]."""

    @abstractmethod
    def batch(self, images: Tensor, words: Tensor) -> Tensor:
        """Transform images [B, C, H, W] by their words, int64 [B, `words`], on one device; return a new tensor."""


class CropAndFlip(BatchTransform):
    """Augment small images: a shifted crop, black outside, and perhaps a mirror image.

    A single image goes through torchvision's RandomCrop and RandomHorizontalFlip.

    Args:
        size: side of the crop in pixels.
        padding: black pixels on either side, 1 or more.
        flip: whether half of the images are mirrored.
    """

    def __init__(self, size: int, padding: int, flip: bool = True) -> None:
        self.size = size
        self.padding = padding
        self.flip = flip
        self.words = 3 if flip else 2
        self._single = v2.Compose([v2.RandomCrop(size, padding), *([v2.RandomHorizontalFlip()] if flip else [])])

    def __call__(self, image: Tensor) -> Tensor:
        """Return a crop of the same type, a new tensor."""
        return self._single(image)

    def batch(self, images: Tensor, words: Tensor) -> Tensor:
        """Crop all images by one gather of their source pixels in the padded images."""
        padded = F.pad(images, (self.padding,) * 4)
        height, width = padded.shape[-2:]
        pixels = torch.arange(self.size, device=images.device)
        # As torchvision draws: the row offset first, then the column offset, each by randint, that is word % n.
        rows = words[:, :1] % (height - self.size + 1) + pixels
        columns = words[:, 1:2] % (width - self.size + 1) + pixels
        if self.flip:
            # torch makes a uniform float of the lowest 24 bits of a word; bit 23 is 0 where it is below one half.
            mirrored = words[:, 2:] & (1 << 23) == 0
            columns = torch.where(mirrored, columns.flip(1), columns)
        sources = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None]
        crops = padded.flatten(2).gather(2, sources.expand(-1, images.shape[1], -1))
        return crops.view(*images.shape[:2], self.size, self.size)


class Standardise(BatchTransform):
    """Convert uint8 [C, H, W] to float32 with mean 0 and deviation 1 in each channel.

    Equal to torchvision's ToDtype(scale=True) and Normalize, at a fifth of their time for small images.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean = torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1) * 255
        self.std = torch.tensor(std, dtype=torch.float32).view(-1, 1, 1) * 255
        self._moved: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, image: Tensor) -> Tensor:
        """Return a new tensor."""
        return (image.float() - self.mean).div_(self.std)

    def batch(self, images: Tensor, words: Tensor) -> Tensor:
        """Standardise all images; the constants are kept on the device, since each transfer would synchronise."""
        if images.device not in self._moved:
            self._moved[images.device] = self.mean.to(images.device), self.std.to(images.device)
        mean, std = self._moved[images.device]
        return (images.float() - mean).div_(std)


class Cutout(BatchTransform):
    """Blank one square of a normalised image [C, H, W]; 0 is then the mean colour.

    The centre falls on any pixel with equal chance, so the square may reach over the border, where it is
    clipped. It covers rows c - length // 2 to c + length // 2 - 1, columns likewise: as in the published
    code, an odd length covers one pixel less a side. Devries and Taylor 2017, arXiv 1708.04552.
    """

    words = 2

    def __init__(self, length: int) -> None:
        self.half = length // 2

    def __call__(self, image: Tensor) -> Tensor:
        """Return a new tensor; the centre is drawn from torch's global generator."""
        rows, columns = (self._span(side) for side in image.shape[-2:])
        image = image.clone()  # it may be a view of the caller's data
        image[:, rows, columns] = 0
        return image

    def batch(self, images: Tensor, words: Tensor) -> Tensor:
        """Blank all images by one mask."""
        rows, columns = (self._covered(side, words[:, axis : axis + 1]) for axis, side in enumerate(images.shape[-2:]))
        return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], 0.0, images)

    def _span(self, side: int) -> slice:
        centre = int(torch.randint(side, ()))
        return slice(max(centre - self.half, 0), centre + self.half)

    def _covered(self, side: int, words: Tensor) -> Tensor:
        """Return which rows (or columns) the square of each image covers: boolean [B, side]."""
        offset = torch.arange(side, device=words.device) - words % side
        return (offset >= -self.half) & (offset < self.half)
