"""The handwritten digits of scikit-learn: no download, and a search takes seconds."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from nas_lightning.data.base import ImageData, Transform, channel_statistics
from nas_lightning.data.splits import stratified_cut
from nas_lightning.data.transforms import CropAndFlip


class Digits(ImageData):
    """Handwritten digits: 1,797 grey images of 8x8 pixels in 10 classes, augmented by shifts of one pixel.

    Images are not mirrored: a mirrored 2 is not a digit.

    Args:
        test_fraction: share of each class kept for the test part; the draw is the same for every seed.
    """

    name = "digits"

    def __init__(self, test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2) -> None:
        self.test_fraction = test_fraction

    def _load(self) -> None:
        from sklearn.datasets import load_digits  # importing takes a second; other data need not wait

        digits = load_digits()
        levels = torch.from_numpy(digits.images) / 16  # 17 shades, 0 to 16
        images = (levels * 255).round().to(torch.uint8).unsqueeze(1)
        labels = digits.target.astype(np.int64)
        test, train = stratified_cut(labels, np.arange(len(labels)), self.test_fraction)

        self._images = {"train": images[train], "test": images[test]}
        self.train_labels, self.test_labels = labels[train], labels[test]
        self.mean, self.std = channel_statistics(images[train])
        self.in_channels, self.image_size, self.num_classes = 1, 8, 10
        self.class_names = tuple(str(name) for name in digits.target_names)

    def _augmentation(self) -> list[Transform]:
        return [CropAndFlip(8, padding=1, flip=False)]
