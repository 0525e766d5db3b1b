"""ImageNet16-120: the first 120 classes of ImageNet at 16x16 pixels, the third data set of NAS-Bench-201.

Source: Chrabaszcz, Loshchilov & Hutter 2017, arXiv 1707.08819 (the downsampling); Dong & Yang, NAS-Bench-201 (ICLR
2020), section 2.2 and released code: the classes, the normalisation, crops with 2 pixels of padding and mirroring.
"""

from nas_lightning.core.errors import DataError
from nas_lightning.data.arrays import Arrays
from nas_lightning.data.base import Shape, Transform
from nas_lightning.data.transforms import CropAndFlip

CLASSES = 120
SIDE = 16


class ImageNet16(Arrays):
    """ImageNet16-120: 151,700 training and 6,000 test images, from the `.npz` file that `task=convert` makes.

    Args:
        path: the file, with the arrays x_train, y_train, x_test and y_test.
    """

    name = "imagenet16_120"
    shape = Shape(151_700, 6_000, 3, SIDE, CLASSES)

    def __init__(self, path: str | None = None) -> None:
        super().__init__(path)

    def _load(self) -> None:
        if self.path is None:
            raise DataError(
                "data.path=null: data=imagenet16_120 needs a file; give it with data.path=FILE.npz, made by"
                " task=convert convert=imagenet16_120 convert.source=FOLDER convert.target=FILE.npz"
            )
        super()._load()
        if (self.in_channels, self.image_size, self.num_classes) != (3, SIDE, CLASSES):
            raise self._error(
                f"holds {self.in_channels} channels of {self.image_size}x{self.image_size} pixels in"
                f" {self.num_classes} classes, not 3 channels of 16x16 in 120",
                "make it with task=convert convert=imagenet16_120, or read any file with data=arrays",
            )
        self.mean = (122.68 / 255, 116.66 / 255, 104.01 / 255)
        self.std = (63.22 / 255, 61.26 / 255, 65.09 / 255)

    def _augmentation(self) -> list[Transform]:
        return [CropAndFlip(SIDE, padding=2)]
