"""Read image files from one folder a class: the user's photos, and ImageNet."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import is_directory, path_of, shown
from nas_lightning.data.base import ImageData, Shape, Transform, channel_statistics
from nas_lightning.data.preprocessing import Preprocessing, open_image, read_upright
from nas_lightning.data.splits import stratified_cut

SAMPLE = 1000
"""Images sampled to choose a size and to measure mean and deviation."""

MEMORY = 2**30
"""Bytes of shrunk photos up to which they are kept instead of being decoded in every pass."""


class Listing(NamedTuple):
    """Image files of one part, with their labels.

    Attributes:
        paths: files, sorted by class, then by name.
        labels: [N] int64, positions in `classes`.
        classes: names of the class folders, sorted.
    """

    paths: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]


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

    With PATH/train/<class> and PATH/test/<class> (or PATH/val/<class>, if there is no test folder) the parts
    are taken from there; otherwise a fixed share of each class is the test part. Photos are turned upright,
    made RGB and resized until their shorter side is 8/7 of `image_size`. Training takes a random square of
    `image_size` from that, mirrored half of the time; testing takes the middle one. Photos so resized are
    kept in memory if they need less than about 1 GiB.

    Args:
        path: the folder.
        image_size: side of the squares in pixels; null: the median of the photos' shorter sides, rounded down
            to a multiple of 8, within 16 to 224.
        test_fraction: share of each class for the test part if the folder has no test or val.
        follow_links: read what links name outside of the folder; without, they are refused.
    """

    name = "image_folder"

    def __init__(
        self,
        path: str | None = None,
        image_size: Annotated[int, Field(gt=0)] | None = None,
        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2,
        follow_links: bool = False,
    ) -> None:
        self.path = path
        self.follow_links = follow_links
        self.wanted_size = image_size
        self.test_fraction = test_fraction

    def _load(self) -> None:
        if self.path is None:
            raise DataError("data.path=null: data=image_folder needs a folder of photos; give it with data.path=FOLDER")
        train, test = self._parts(path_of(self.path))
        sample = np.unique(np.linspace(0, len(train.paths) - 1, SAMPLE).astype(int))
        self.image_size = self.wanted_size or typical_size([train.paths[i] for i in sample])
        side = shorter_side(self.image_size)
        read = partial(read_shrunk, side=side)

        # Photos are resized once and kept if they fit: decoding is the slow part of a pass.
        small = (len(train.paths) + len(test.paths)) * 4 * side**2 <= MEMORY  # 3 channels, 4:3 photos
        self._images = {
            "train": read_all(train.paths, read) if small else Files(train.paths, read),
            "test": read_all(test.paths, read) if small else Files(test.paths, read),
        }
        self.train_labels, self.test_labels = train.labels, test.labels
        self.class_names = train.classes
        self.in_channels, self.num_classes = 3, len(train.classes)
        middles = [functional.center_crop(self._images["train"][i], [self.image_size]) for i in sample.tolist()]
        self.mean, self.std = channel_statistics(torch.stack(middles))

    def _parts(self, root: Path) -> tuple[Listing, Listing]:
        example = "data.path=FOLDER with FOLDER/<class>/*.jpg"
        subfolders = {entry.name for entry in root.iterdir() if entry.is_dir()} if is_directory(root) else set()
        # Any other folder beside them makes all of them classes: a class may well be called `test`.
        held_out = next((name for name in ("test", "val") if name in subfolders), None)
        if held_out and "train" in subfolders and subfolders <= {"train", "test", "val"}:
            links: dict[str, Any] = {"root": root, "follow_links": self.follow_links}
            train = list_images(root / "train", example, least=2, **links)
            return train, list_images(root / held_out, example, train.classes, **links)
        both = list_images(root, example, least=2, follow_links=self.follow_links)
        chosen = stratified_cut(both.labels, np.arange(len(both.paths)), self.test_fraction)
        test, train = (
            Listing([both.paths[i] for i in indices], both.labels[indices], both.classes) for indices in chosen
        )
        return train, test

    def _augmentation(self) -> list[Transform]:
        return [v2.RandomCrop(self.image_size), v2.RandomHorizontalFlip()]

    def _framing(self) -> list[Transform]:
        return [v2.CenterCrop(self.image_size)]

    def preprocessing(self) -> Preprocessing:
        """Resize photos as those of the training were."""
        return Preprocessing(3, self.image_size, shorter_side(self.image_size), shrink_on_decode=True)


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
        self._images = {"train": Files(train.paths, read_rgb), "test": Files(test.paths, read_rgb)}
        self.train_labels, self.test_labels = train.labels, test.labels
        self.class_names = train.classes
        self.in_channels, self.num_classes = 3, len(train.classes)

    def _augmentation(self) -> list[Transform]:
        return [
            v2.RandomResizedCrop(self.image_size),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
            v2.PILToTensor(),
        ]

    def _framing(self) -> list[Transform]:
        return [v2.Resize(shorter_side(self.image_size)), v2.CenterCrop(self.image_size), v2.PILToTensor()]

    def preprocessing(self) -> Preprocessing:
        """Take the middle of a somewhat larger picture, as published."""
        return Preprocessing(3, self.image_size, shorter_side(self.image_size))


def list_images(
    folder: Path,
    example: str,
    classes: tuple[str, ...] | None = None,
    least: int = 0,
    root: Path | None = None,
    follow_links: bool = False,
) -> Listing:
    """List the image files of each class folder, at any depth.

    Args:
        folder: the parent of the class folders.
        example: a correct override, for the error messages.
        classes: the only names allowed; None: those found, which must be two or more.
        least: images that every class must have.
        root: what links must stay within; None: `folder`.
        follow_links: let links lead anywhere.

    Raises:
        DataError: There is no such folder, no image, an unknown or too small class, or a link out of `root`.
    """
    if not is_directory(folder):
        raise DataError(f"no folder {shown(folder)}; give {example}")
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not _hidden(entry.name))
    inside = os.path.realpath(root or folder)
    for name in found:
        if (folder / name).is_symlink() and not follow_links:
            _require_inside(str(folder / name), inside)
    files = {name: sorted(files_below(str(folder / name), inside, follow_links)) for name in found}
    if not any(files.values()):
        raise DataError(f"no images in class folders of {folder}; give {example}")
    for name, paths in files.items():
        if classes is not None and name not in classes:
            raise DataError(f"{folder} has a class {name} that the training images lack; give {example}")
        if len(paths) < least:
            raise DataError(f"class {name} in {folder} has {len(paths)} image(s), not {least} or more; give {example}")
    if classes is None:
        if len(found) < 2:
            raise DataError(f"{folder} has one class only ({found[0]}), not two or more; give {example}")
        classes = tuple(found)
    paths = [path for name in classes for path in files.get(name, [])]
    labels = np.repeat(np.arange(len(classes)), [len(files.get(name, [])) for name in classes])
    return Listing(paths, labels.astype(np.int64), classes)


def files_below(folder: str, root: str, follow_links: bool) -> Iterator[str]:
    """Yield image files at any depth, unsorted.

    Raises:
        DataError: A link leads out of `root`.
    """
    # Strings: Path objects would take minutes for ImageNet's million files.
    with os.scandir(folder) as entries:
        for entry in entries:
            if _hidden(entry.name):
                continue
            if entry.is_symlink() and not follow_links:
                _require_inside(entry.path, root)
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(entry.path, root, follow_links)
            elif entry.name.lower().endswith(IMG_EXTENSIONS):
                yield entry.path


def _require_inside(path: str, root: str) -> None:
    """Refuse a link out of the folder that the user named, since its images could be anybody's.

    Raises:
        DataError: `path` leads out of `root`.
    """
    target = os.path.realpath(path)
    if os.path.commonpath([target, root]) != root:
        raise DataError(
            f"{path} is a link to {target}, outside of {root}; copy it there, or trust the links with"
            " data.follow_links=true"
        )


def _hidden(name: str) -> bool:
    return name.startswith(".")  # such as the ._photo.jpg that macOS leaves behind


def shorter_side(middle: int) -> int:
    """Return the shorter side to resize to before a middle square is cut out: 256 for 224, as published."""
    return round(middle * 256 / 224)


def read_rgb(path: str) -> Image.Image:
    """Decode one file at its full size."""
    with open_image(path) as image:
        return image.convert("RGB")


def read_shrunk(path: str, side: int) -> Tensor:
    """Return one photo, upright, its shorter side resized to `side` pixels: uint8 [3, H, W]."""
    return functional.pil_to_tensor(functional.resize(read_upright(path, "RGB", side), [side]))


def read_all(paths: Sequence[str], read: Callable[[str], Tensor]) -> list[Tensor]:
    """Decode files in parallel; threads suffice, since PIL releases the interpreter lock while it decodes."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(read, paths))


def typical_size(paths: Sequence[str]) -> int:
    """Return the median of the shorter sides, rounded down to a multiple of 8, within 16 to 224 pixels."""
    shorter = []
    for path in paths:
        with open_image(path) as image:  # reads the header only
            shorter.append(min(image.size))
    return int(np.clip(np.median(shorter) // 8 * 8, 16, 224))
