"""Images that only have the shape of a published set, to count and to time runs without reading it."""

from collections.abc import Sequence

import numpy as np
import torch

from nas_lightning.data.base import ImageData, Shape, Transform
from nas_lightning.data.source import DataSource
from nas_lightning.data.transforms import BatchTransform


class StandIn(ImageData):
    """As many images and classes as a published set has, all of them one image of noise.

    They are augmented like the set's own where that is done a batch at a time, so no two in a batch are equal. Reading
    and decoding of files is not imitated.

    Args:
        source: the set that it replaces; it is not read.
        shape: of the set.
    """

    def __init__(self, source: ImageData, shape: Shape) -> None:
        self.source = source
        self.shape_of_source = shape
        self.name = source.name

    def _load(self) -> None:
        shape = self.shape_of_source
        size = getattr(self.source, "image_size", shape.image_size)
        rng = torch.Generator().manual_seed(0)
        image = torch.randint(256, (1, shape.in_channels, size, size), generator=rng, dtype=torch.uint8)
        # Views of one image: a stand-in for ImageNet takes no memory.
        self._images = {"train": image.expand(shape.train, -1, -1, -1), "test": image.expand(shape.test, -1, -1, -1)}
        self.train_labels = np.arange(shape.train, dtype=np.int64) % shape.num_classes
        self.test_labels = np.arange(shape.test, dtype=np.int64) % shape.num_classes
        self.in_channels, self.image_size, self.num_classes = shape.in_channels, size, shape.num_classes
        self.class_names = tuple(map(str, range(shape.num_classes)))
        self.mean, self.std = (0.5,) * shape.in_channels, (0.25,) * shape.in_channels

    def find_images(self, names: Sequence[str], labels: Sequence[str], given: str) -> np.ndarray:
        """Return as many images, since those of the set are not read: sizes and times are those of any others."""
        # A folder may hold more images than the published set: then some stand for two.
        return np.arange(len(names), dtype=np.int64) % len(self.train_labels)

    def _augmentation(self) -> list[Transform]:
        return [step for step in self.source._augmentation() if isinstance(step, BatchTransform)]


def without_reading(source: DataSource) -> DataSource:
    """Return a stand-in for a published set, which need not be on this machine; prepare and return other sources."""
    if not isinstance(source, ImageData) or source.shape is None:
        source.prepare()
        return source
    data = StandIn(source, source.shape)
    data.prepare()
    return data
