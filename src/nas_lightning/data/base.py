"""What the search and the retraining need to know of a set of labelled images.

Shapes: N images, C channels, H = W = `image_size` pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from nas_lightning.core.errors import DataError
from nas_lightning.data.batched import BatchedImages
from nas_lightning.data.preprocessing import Preprocessing
from nas_lightning.data.transforms import BatchTransform, Cutout, Standardise

Part = Literal["train", "test"]
Transform = Callable[[Any], Any]


@dataclass(frozen=True)
class Shape:
    """What is known of a published set without reading it: numbers of images, and the sizes of one."""

    train: int
    test: int
    in_channels: int
    image_size: int
    num_classes: int


class LabelledImages(Dataset[tuple[Tensor, int]]):
    """Raw images beside their labels, transformed one by one when they are asked for.

    Args:
        images: anything that gives a raw image for an index.
        labels: [N] int64.
        transform: makes a float32 tensor [C, H, W] of a raw image.
    """

    def __init__(self, images: Sequence[Any] | Tensor, labels: np.ndarray, transform: Transform) -> None:
        self.images = images
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


class ImageData:
    """Images with labels, in a training and a test part; one subclass a source.

    Constructors only keep their arguments. `prepare` reads (or fetches) the images and fills the attributes.
    A subclass writes `_load`, which sets every attribute below, and may add geometry in `_augmentation` and
    `_framing`.

    Attributes:
        name: how tables and file names call the set.
        in_channels: 1 for grey images, 3 for colour.
        image_size: side, in pixels, of the squares that the network sees.
        num_classes: labels are 0 .. num_classes - 1.
        class_names: one a class.
        train_labels: [N] int64, in index order.
        test_labels: likewise, of the test part.
        mean: of the training images, one a channel, on a scale where 1.0 is white; None where a user's own transforms
            normalise.
        std: likewise, the standard deviation.
        shape: of a published set, known before it is read; None where it has to be read.
    """

    shape: ClassVar[Shape | None] = None

    name: str
    in_channels: int
    image_size: int
    num_classes: int
    class_names: tuple[str, ...]
    train_labels: np.ndarray
    test_labels: np.ndarray
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    _images: dict[Part, Sequence[Any] | Tensor]
    _prepared = False

    def prepare(self) -> None:
        """Reads the images unless that is done already; raises DataError if they cannot be used."""
        if not self._prepared:
            self._load()
            self._prepared = True

    def dataset(self, part: Part, augment: bool, cutout: int = 0) -> Dataset[tuple[Tensor, int]]:
        """Items are a normalised float32 image [C, H, W] and its label; `BatchedImages` where they can be.

        Args:
            part: the images of the training or of the test part.
            augment: whether images are randomly cropped, flipped and so on, as is usual for the source.
            cutout: side, in pixels, of a random square that is blanked; 0 is off.
        """
        self.prepare()
        assert self.mean is not None
        assert self.std is not None
        steps: list[Transform] = [
            *(self._augmentation() if augment else self._framing()),
            Standardise(self.mean, self.std),
            *self._cutout(cutout),
        ]
        labels = self.train_labels if part == "train" else self.test_labels
        images, batched = self._images[part], [step for step in steps if isinstance(step, BatchTransform)]
        if isinstance(images, Tensor) and len(batched) == len(steps):
            return BatchedImages([images], labels, batched)
        return LabelledImages(images, labels, v2.Compose(steps))

    def preprocessing(self) -> Preprocessing | None:
        """What makes pixels of an image file as the test images have them; None where that is not known."""
        return Preprocessing(self.in_channels, self.image_size, self.image_size)

    def _load(self) -> None:
        raise NotImplementedError

    def _augmentation(self) -> list[Transform]:
        """Random geometry and colour for training: raw image to uint8 tensor [C, H, W]."""
        return self._framing()

    def _framing(self) -> list[Transform]:
        """The same without chance; raw images that are such tensors already need nothing."""
        return []

    def _cutout(self, length: int) -> list[Transform]:
        if not 0 <= length <= self.image_size:
            raise DataError(
                f"cutout={length} does not fit images of {self.image_size}x{self.image_size} pixels: "
                f"give 0 (off) to {self.image_size}, e.g. evaluation.cutout={self.image_size // 2}"
            )
        return [Cutout(length)] if length else []


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 images [N, C, H, W], on a scale of 0 to 1.

    A channel of one constant value gets the deviation 1, so that normalising it stays finite.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = float(share @ levels)
        means.append(mean)
        stds.append(float(share @ (levels - mean) ** 2) ** 0.5 or 1.0)
    return tuple(means), tuple(stds)
