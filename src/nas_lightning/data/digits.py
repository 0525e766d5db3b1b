"""The handwritten digits of scikit-learn: no download, and a search takes seconds."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from nas_lightning.data.base import ImageData, Transform
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
        self._split(images, labels, self.test_fraction)
        self.num_classes = 10
        self.class_names = tuple(str(name) for name in digits.target_names)

    def _augmentation(self) -> list[Transform]:
        return [CropAndFlip(8, padding=1, flip=False)]
