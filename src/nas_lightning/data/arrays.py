"""Read images that are arrays already: one `.npz` file of the user's own, or of MedMNIST."""

import zipfile
import zlib
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import LFS, is_file, lfs_pointer, path_of, shown
from nas_lightning.data.base import ImageData, Transform, channel_statistics
from nas_lightning.data.checks import require_contrast, warn_unlike
from nas_lightning.data.preprocessing import Preprocessing
from nas_lightning.data.transforms import CropAndFlip

OWN = ("x_train", "y_train", "x_test", "y_test")
MEDMNIST = ("train_images", "train_labels", "test_images", "test_labels")
UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


class Arrays(ImageData):
    """Images of a `.npz` file with the arrays x_train, y_train, x_test and y_test.

    Images are N x H x W, N x H x W x C or N x C x H x W, as uint8 or as floats from 0 to 1; labels are
    integers 0 .. K - 1, N or N x 1. Files of MedMNIST (train_images, train_labels, test_images, test_labels)
    are read as they are; their val_images are not used. Training images are shifted by up to an eighth of
    their side.

    Args:
        path: the file.
        image_size: side, in pixels, to which images are resized; null keeps them, which then must be square.
        flip: whether training images are mirrored at random; give false for letters, digits and the like.
    """

    name = "arrays"
    missing: ClassVar[dict[str, str]] = {
        "path": "data.path={given}: no such file; give another file with data.path=FILE.npz"
    }

    def __init__(
        self,
        path: str | None = None,
        image_size: Annotated[int, Field(gt=0)] | None = None,
        flip: bool = True,
    ) -> None:
        self.path = path
        self.resize_to = image_size
        self.flip = flip

    def _load(self) -> None:
        names, (x_train, y_train, x_test, y_test) = self._read()
        train, test = self._pixels(names[0], x_train), self._pixels(names[2], x_test)
        if train.shape[1:] != test.shape[1:]:
            raise self._error(f"{names[0]} and {names[2]} differ in shape: {x_train.shape}, {x_test.shape}")
        self.train_labels = self._labels(names[1], y_train, len(train))
        self.test_labels = self._labels(names[3], y_test, len(test))
        self.num_classes = self._count_classes(names)

        self._images = {"train": train, "test": test}
        self.in_channels, self.image_size = train.shape[1], train.shape[2]
        require_contrast(train, f"data.path={self.path}")
        self.mean, self.std = channel_statistics(train)
        warn_unlike(test, self.mean, self.std, f"data.path={self.path}: {names[2]}")
        self.class_names = tuple(str(label) for label in range(self.num_classes))

    def _augmentation(self) -> list[Transform]:
        return [CropAndFlip(self.image_size, padding=max(1, self.image_size // 8), flip=self.flip)]

    def preprocessing(self) -> Preprocessing | None:
        """Stretch files to squares where the arrays were stretched; else take the middle square.

        None for arrays that no file of an image holds, neither grey nor RGB.
        """
        side = self.image_size
        if self.in_channels not in (1, 3):
            return None
        return Preprocessing(self.in_channels, side, side if self.resize_to is None else (side, side))

    def _error(self, problem: str, remedy: str = "give another file with data.path=FILE.npz") -> DataError:
        return DataError(f"data.path={shown(self.path or 'null')}: {problem}; {remedy}")

    def _read(self) -> tuple[tuple[str, ...], list[np.ndarray]]:
        if self.path is None:
            raise DataError("data.path=null: data=arrays needs a file of images; give it with data.path=FILE.npz")
        path = path_of(self.path)
        if not is_file(path):
            raise DataError(self.missing["path"].format(given=shown(self.path)))
        try:
            # Open the file here: numpy leaves a damaged one open.
            with path.open("rb") as stream:
                pointer = lfs_pointer(stream.read(len(LFS)))
            if pointer:
                raise self._error(pointer, "or give another file with data.path=FILE.npz")
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                names = MEDMNIST if MEDMNIST[0] in file else OWN
                missing = [name for name in names if name not in file]
                arrays = [] if missing else [file[name] for name in names]
        except (*UNREADABLE, TypeError, AttributeError) as error:  # the last two: a single .npy array
            raise self._error(f"not a readable .npz file ({' '.join(str(error).split())})") from error
        if missing:
            raise self._error(f"lacks {', '.join(missing)}", f"store {', '.join(OWN)} with numpy.savez")
        return names, arrays

    def _pixels(self, name: str, array: np.ndarray) -> Tensor:
        """Return any of the accepted layouts as uint8 [N, C, H, W].

        Raises:
            DataError: The shape, the type or the values are not accepted.
        """
        if array.ndim == 3:
            array = array[..., None]
        if array.ndim != 4 or 0 in array.shape:
            raise self._error(f"{name} has the shape {array.shape}", "store N x H x W or N x H x W x C")
        if np.issubdtype(array.dtype, np.floating) and array.min() >= 0 and array.max() <= 1:
            array = np.rint(array * 255).astype(np.uint8)
        if array.dtype != np.uint8:
            raise self._error(
                f"{name} holds {array.dtype} values from {array.min()} to {array.max()}",
                "store uint8, or floats from 0 to 1",
            )
        # Images have fewer channels than pixels a side, so the smaller of the two axes holds the channels.
        if array.shape[3] <= array.shape[1]:
            array = array.transpose(0, 3, 1, 2)
        images = torch.from_numpy(np.ascontiguousarray(array))
        if self.resize_to is not None:
            side = [self.resize_to, self.resize_to]
            # In chunks, which bounds the memory of the floats that resizing computes in.
            resized = [functional.resize(chunk, side, antialias=True) for chunk in images.split(1000)]
            images = torch.cat(resized)
        if images.shape[2] != images.shape[3]:
            raise self._error(
                f"{name} holds images of {images.shape[2]}x{images.shape[3]} pixels, which are not square",
                "resize them, e.g. with data.image_size=32",
            )
        return images

    def _labels(self, name: str, array: np.ndarray, count: int) -> np.ndarray:
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise self._error(f"{name} holds {array.dtype} of shape {array.shape}", "store N integers")
        if len(array) != count:
            raise self._error(f"{name} has {len(array)} labels for {count} images", "store one label an image")
        return array.astype(np.int64)

    def _count_classes(self, names: tuple[str, ...]) -> int:
        classes = np.unique(self.train_labels)
        shown = ", ".join(map(str, classes[:12])) + (", ..." if len(classes) > 12 else "")
        if len(classes) < 2:
            raise self._error(f"{names[1]} holds one class only ({shown})", "store images of two or more classes")
        if not np.array_equal(classes, np.arange(len(classes))):
            raise self._error(f"{names[1]} holds the labels {shown}", "number the classes 0, 1, 2, ... without gaps")
        unknown = np.setdiff1d(self.test_labels, classes)
        if len(unknown):
            raise self._error(f"{names[3]} holds the label {unknown[0]}, which {names[1]} lacks", "drop those images")
        return len(classes)
