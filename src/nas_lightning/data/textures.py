"""Squares cut from the photos that scikit-image ships: colour images without a download."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import path_of
from nas_lightning.data.base import ImageData, Part, Transform, channel_statistics
from nas_lightning.data.preprocessing import read_upright
from nas_lightning.data.transforms import CropAndFlip

PARTS: tuple[Part, Part] = ("train", "test")
SIDE = 32
"""Pixels of a square, as in CIFAR-10."""
PHOTOS = {
    "astronaut": ("astronaut.png", 1),
    "brick": ("brick.png", 1),
    "cat": ("chelsea.png", 1),
    "coffee": ("coffee.png", 1),
    "galaxies": ("hubble_deep_field.jpg", 2),
    "grass": ("grass.png", 1),
    "gravel": ("gravel.png", 1),
    "retina": ("retina.jpg", 3),
    "rocket": ("rocket.jpg", 1),
    "tissue": ("ihc.png", 1),
}
"""By class: the photo among those in the wheel of scikit-image, and the pixels a side that are averaged to one."""
INSTALL = "pip install 'nas-lightning[textures]'"


class Textures(ImageData):
    """Squares of 32x32 pixels from ten photos of scikit-image, one class a photo, in colour.

    A photo is cut into squares of which no two share a pixel. Those of its left three quarters are training images,
    those of the rest test images; they are the same for every seed. Brick, grass and gravel are grey photos. Training
    images are shifted by up to 4 pixels and mirrored at random, as those of CIFAR-10.
    """

    name = "textures"

    def _load(self) -> None:
        folder = _folder()
        images: dict[Part, list[Tensor]] = {"train": [], "test": []}
        for file, factor in PHOTOS.values():
            photo = functional.pil_to_tensor(read_upright(str(folder / file), "RGB").reduce(factor))
            for part, squares in zip(PARTS, cut(photo), strict=True):
                images[part].append(squares)
        self._images = {part: torch.cat(squares) for part, squares in images.items()}
        self.train_labels, self.test_labels = (
            np.repeat(np.arange(len(PHOTOS), dtype=np.int64), [len(squares) for squares in images[part]])
            for part in PARTS
        )
        self.mean, self.std = channel_statistics(torch.cat(images["train"]))
        self.in_channels, self.image_size, self.num_classes = 3, SIDE, len(PHOTOS)
        self.class_names = tuple(PHOTOS)

    def write(self, folder: str | Path) -> Path:
        """Write the images as FOLDER/train/<class>/*.png and FOLDER/test/<class>/*.png, for `data=image_folder`.

        Raises:
            DataError: The photos are missing, or the folder exists.
        """
        self.prepare()
        target = path_of(str(folder))
        if target.exists():
            raise DataError(f"{folder}: exists already; give the name of a new folder")
        for part, labels in zip(PARTS, (self.train_labels, self.test_labels), strict=True):
            for name in self.class_names:
                (target / part / name).mkdir(parents=True)
            for number, (image, label) in enumerate(zip(self._images[part], labels, strict=True)):
                functional.to_pil_image(image).save(target / part / self.class_names[label] / f"{number:04}.png")
        return target

    def _augmentation(self) -> list[Transform]:
        return [CropAndFlip(SIDE, padding=4)]


def cut(photo: Tensor) -> tuple[Tensor, Tensor]:
    """Cut a photo into squares that share no pixel; what remains at the right and the bottom is left out.

    Args:
        photo: [C, H, W], at least four squares wide.

    Returns:
        The squares of the left part and those of the right quarter, each [N, C, SIDE, SIDE].
    """
    squares = photo.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE).movedim(0, 2)  # [rows, columns, C, SIDE, SIDE]
    # Whole columns, not squares drawn at random: a test image then has training images on one side at most.
    columns = squares.shape[1]
    train, test = squares.split([columns - columns // 4, columns // 4], dim=1)
    return train.flatten(0, 1), test.flatten(0, 1)


def _folder() -> Path:
    """Return the folder with the photos. They are read as files, since `skimage.data` may download what it lacks.

    Raises:
        DataError: scikit-image is not installed, or ships without them.
    """
    spec: Any = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"data=textures: needs the photos of scikit-image; install it: {INSTALL}")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    missing = [file for file, _ in PHOTOS.values() if not (folder / file).is_file()]
    if missing:
        raise DataError(
            f"data=textures: this scikit-image ships without {', '.join(missing)}; install its wheel: {INSTALL}"
        )
    return folder
