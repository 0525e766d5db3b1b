"""Read image files from one folder a class: the user's photos, and ImageNet."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import is_directory, path_of, shown
from nas_lightning.data.base import ImageData, Part, Shape, Transform, channel_statistics
from nas_lightning.data.checks import require_contrast, warn_unlike
from nas_lightning.data.listing import ListedNames, Listing, count_words, list_images
from nas_lightning.data.parts import find_parts
from nas_lightning.data.preprocessing import Preprocessing, read_upright
from nas_lightning.data.splits import stratified_cut
from nas_lightning.data.survey import attempt, name_broken, sample, typical_size, white_level

log = logging.getLogger(__name__)

MEMORY = 2**30
"""Bytes of shrunk photos up to which they are kept instead of being decoded in every pass."""


class Files(Sequence[Any]):
    """A sequence of images that are decoded when they are indexed."""

    def __init__(self, paths: Sequence[str], read: Callable[[str], Any]) -> None:
        self.paths = paths
        self.read = read

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        return self.read(self.paths[index])


class ImageFolder(ImageData):
    """Photos of any size, in one folder a class: PATH/<class>/*.jpg.

    With PATH/train/<class> and PATH/test/<class> (or PATH/val/<class>, if there is no test folder), in any capitals
    and under other usual names, see `nas_lightning.data.parts`, the parts are taken from there; otherwise a fixed share
    of each class is the test part. Hidden folders and those that systems leave behind are no classes. Photos are turned
    upright, made RGB and resized until their shorter side is 8/7 of `image_size`. Training takes a random square of
    `image_size` from that, mirrored half of the time; testing takes the middle one. Photos so resized are kept in
    memory if they need less than about 1 GiB.

    Args:
        path: the folder.
        image_size: side of the squares in pixels; null: the median of the photos' shorter sides, rounded down
            to a multiple of 8, within 16 to `largest_size`.
        test_fraction: share of each class for the test part if the folder has no test or val.
        follow_links: read what links name outside of the folder; without, they are refused.
        split_folders: take folders named train, valid, test, … as parts; false: as classes.
        skip_unreadable: leave out damaged photos, which are named; false: refuse them.
        white: the value of white where pixels have more than 8 bits; null: the smallest of 255, 1023, 4095, 16383 and
            65535 (1, 255 and 65535 for real numbers) that is not below any pixel of a sample.
        background: grey level, 0 (black) to 255 (white), that shows where photos are transparent.
        largest_size: largest side that is chosen from the photos; a given `image_size` may be larger.
    """

    name = "image_folder"
    missing: ClassVar[dict[str, str]] = {"path": "no folder {path}; give data.path=FOLDER with FOLDER/<class>/*.jpg"}

    def __init__(
        self,
        path: str | None = None,
        image_size: Annotated[int, Field(gt=0)] | None = None,
        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2,
        follow_links: bool = False,
        split_folders: bool = True,
        skip_unreadable: bool = False,
        white: Annotated[float, Field(gt=0)] | None = None,
        background: Annotated[int, Field(ge=0, le=255)] = 255,
        largest_size: Annotated[int, Field(gt=0)] = 224,
    ) -> None:
        self.path = path
        self.follow_links = follow_links
        self.wanted_size = image_size
        self.test_fraction = test_fraction
        self.split_folders = split_folders
        self.skip_unreadable = skip_unreadable
        self.white = white
        self.background = background
        self.largest_size = largest_size

    def _load(self) -> None:
        if self.path is None:
            raise DataError("data.path=null: data=image_folder needs a folder of photos; give it with data.path=FOLDER")
        notes: list[str] = []
        train, test = self._parts(path_of(self.path), notes)
        chosen = sample(train.paths)
        self.image_size = self.wanted_size or typical_size([train.paths[i] for i in chosen], self.largest_size)
        if self.white is None:
            self.white = white_level([train.paths[i] for i in chosen] + [test.paths[i] for i in sample(test.paths)])
            notes += [] if self.white is None else [f"white is {self.white:g} (data.white)"]
        side = shorter_side(self.image_size)
        read = partial(read_shrunk, side=side, white=self.white, background=self.background)

        # Photos are resized once and kept if they fit: decoding is the slow part of a pass.
        small = (len(train.paths) + len(test.paths)) * 4 * side**2 <= MEMORY  # 3 channels, 4:3 photos
        if small:
            images: Sequence[Any] = self._read_all(train.paths + test.paths, read)
            self._images = {"train": images[: len(train.paths)], "test": images[len(train.paths) :]}
        else:
            self._images = {"train": Files(train.paths, read), "test": Files(test.paths, read)}
        self.train_labels, self.test_labels = train.labels, test.labels
        self.class_names = train.classes
        self.in_channels, self.num_classes = 3, len(train.classes)
        middles = self._middles("train", chosen)
        require_contrast(middles, f"data.path={self.path}")
        self.mean, self.std = channel_statistics(middles)
        warn_unlike(
            self._middles("test", sample(test.paths)), self.mean, self.std, f"data.path={self.path}: test images"
        )
        self.notes = tuple(notes)
        self._names = ListedNames(self.path, train.paths)

    def image_names(self) -> Sequence[str]:
        """Return the place of each training photo below the folder."""
        return self._names

    def _parts(self, root: Path, notes: list[str]) -> tuple[Listing, Listing]:
        """List the files of both parts, and add to the notes what is left out."""
        example = "data.path=FOLDER with FOLDER/<class>/*.jpg"
        if not is_directory(root):
            raise DataError(self.missing["path"].format(path=shown(root)))
        parts = find_parts(root) if self.split_folders else None
        links: dict[str, Any] = {"root": root, "follow_links": self.follow_links}
        if parts is not None:
            train = self._readable(list_images(parts.train, example, least=2, **links), 2)
            test = self._readable(list_images(parts.test, example, train.classes, **links), 0)
            left_out = train.left_out + test.left_out
            notes += [f"{name} is not read" for name in parts.unused]
        else:
            both = self._readable(list_images(root, example, least=2, **links), 2)
            left_out = both.left_out
            test, train = map(both.select, stratified_cut(both.labels, np.arange(len(both.paths)), self.test_fraction))
        notes += [count_words(left_out)] if left_out else []
        return train, test

    def _readable(self, listing: Listing, least: int) -> Listing:
        """Return a listing without damaged files, where they are to be skipped, and name those.

        Raises:
            DataError: None or too few of a class remain.
        """
        if not self.skip_unreadable:
            return listing
        white = np.inf if self.white is None else self.white  # not known yet: no level is too high
        found = attempt(partial(read_upright, mode="RGB", side=64, white=white), listing.paths, keep=False)
        broken = [
            (path, error) for path, error in zip(listing.paths, found, strict=True) if isinstance(error, DataError)
        ]
        if not broken:
            return listing
        log.warning("data.skip_unreadable=true leaves out %s", name_broken(broken, len(found)))
        log.info("left out: %s", ", ".join(path for path, _ in broken))
        kept = listing.select(np.flatnonzero([error is None for error in found]))
        counts = np.bincount(kept.labels, minlength=len(kept.classes))
        if len(kept.paths) == 0 or counts.min() < least:
            raise DataError(
                f"data.skip_unreadable=true: class {kept.classes[counts.argmin()]} has {counts.min()} readable"
                f" image(s), not {max(least, 1)} or more; repair images, or drop the class"
            )
        return kept._replace(left_out=kept.left_out + Counter({"unreadable": len(broken)}))

    def _read_all(self, paths: Sequence[str], read: Callable[[str], Tensor]) -> list[Tensor]:
        """Decode all files.

        Raises:
            DataError: Some cannot be read.
        """
        found = attempt(read, paths)
        broken = [(path, error) for path, error in zip(paths, found, strict=True) if isinstance(error, DataError)]
        if broken:
            skipping = "" if self.skip_unreadable else ", or leave them out with data.skip_unreadable=true"
            raise DataError(
                f"data.path={self.path}: cannot use {name_broken(broken, len(paths))}; repair or remove them{skipping}"
            )
        return [image for image in found if isinstance(image, Tensor)]

    def _middles(self, part: Part, chosen: Sequence[int]) -> Tensor:
        """Return the middle squares of some images, uint8 [N, 3, S, S]."""
        return torch.stack([functional.center_crop(self._images[part][i], [self.image_size]) for i in chosen])

    def _augmentation(self) -> list[Transform]:
        return [v2.RandomCrop(self.image_size), v2.RandomHorizontalFlip()]

    def _framing(self) -> list[Transform]:
        return [v2.CenterCrop(self.image_size)]

    def preprocessing(self) -> Preprocessing:
        """Resize photos as those of the training were."""
        side = shorter_side(self.image_size)
        return Preprocessing(3, self.image_size, side, True, self.white, self.background)


class ImageNet(ImageData):
    """ImageNet, in the folders that its archives unpack to: ROOT/train/<class>/*.JPEG and ROOT/val/<class>/*.JPEG.

    The validation images are the test part, as in all publications. Training: a random crop of random size
    and shape, mirroring and colour jitter; testing: the middle square of 224 in a shorter side of 256 pixels.

    Args:
        root: the folder.
        image_size: side of the squares in pixels; the 256 above scales with it.
        follow_links: read what links name outside of the folder; without, they are refused.
    """

    name = "imagenet"
    shape = Shape(1_281_167, 50_000, 3, 224, 1000)
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(
        self,
        root: str = "data/imagenet",
        image_size: Annotated[int, Field(gt=0)] = 224,
        follow_links: bool = False,
    ) -> None:
        self.root = root
        self.image_size = image_size
        self.follow_links = follow_links

    def _load(self) -> None:
        root = path_of(self.root)
        example = "data.root=FOLDER with FOLDER/train/<class>/*.JPEG and FOLDER/val/<class>/*.JPEG"
        links: dict[str, Any] = {"root": root, "follow_links": self.follow_links}
        train = list_images(root / "train", example, least=2, **links)
        test = list_images(root / "val", example, train.classes, **links)
        read = partial(read_upright, mode="RGB")
        self._images = {"train": Files(train.paths, read), "test": Files(test.paths, read)}
        left_out = train.left_out + test.left_out
        self.notes = (count_words(left_out),) if left_out else ()
        self.train_labels, self.test_labels = train.labels, test.labels
        self.class_names = train.classes
        self.in_channels, self.num_classes = 3, len(train.classes)
        self._names = ListedNames(self.root, train.paths)

    def image_names(self) -> Sequence[str]:
        """Return the place of each training photo below the folder: train/<class>/*.JPEG."""
        return self._names

    def _augmentation(self) -> list[Transform]:
        return [
            v2.RandomResizedCrop(self.image_size),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
            v2.PILToTensor(),
        ]

    def _geometry(self) -> list[Transform]:
        """Return the same without colour jitter, which policies replace, as in timm."""
        return [v2.RandomResizedCrop(self.image_size), v2.RandomHorizontalFlip(), v2.PILToTensor()]

    def _framing(self) -> list[Transform]:
        return [v2.Resize(shorter_side(self.image_size)), v2.CenterCrop(self.image_size), v2.PILToTensor()]

    def preprocessing(self) -> Preprocessing:
        """Take the middle of a somewhat larger picture, as published."""
        return Preprocessing(3, self.image_size, shorter_side(self.image_size))


def shorter_side(middle: int) -> int:
    """Return the shorter side to resize to before a middle square is cut out: 256 for 224, as published."""
    return round(middle * 256 / 224)


def read_shrunk(path: str, side: int, white: float | None, background: int) -> Tensor:
    """Return one photo, upright, its shorter side resized to `side` pixels: uint8 [3, H, W]."""
    image = read_upright(path, "RGB", side, white, background)
    return functional.pil_to_tensor(functional.resize(image, [side]))
