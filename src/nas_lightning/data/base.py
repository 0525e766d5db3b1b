"""Base class of all sources of labelled images: their sizes, their classes, and datasets of them.

Shapes: N images, C channels, H = W = `image_size` pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import shown
from nas_lightning.data.batched import BatchedImages
from nas_lightning.data.fingerprint import difference, sampled
from nas_lightning.data.policies import Learned, Policy, policy_transforms
from nas_lightning.data.preprocessing import Preprocessing
from nas_lightning.data.source import DataSource
from nas_lightning.data.splits import stratified_cut
from nas_lightning.data.transforms import BatchTransform, Cutout, Standardise

Part = Literal["train", "test"]
Transform = Callable[[Any], Any]
NAMED = 6
"""Classes named in the line about the images."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a published set, known without reading it: numbers of images, and the shape of one."""

    train: int
    test: int
    in_channels: int
    image_size: int
    num_classes: int


class LabelledImages(Dataset[tuple[Tensor, int]]):
    """Pairs of a raw image and its label, transformed one by one when they are indexed.

    Args:
        images: any sequence of raw images.
        labels: [N] int64.
        transform: turns a raw image into a float32 tensor [C, H, W].
    """

    def __init__(self, images: Sequence[Any] | Tensor, labels: np.ndarray, transform: Transform) -> None:
        self.images = images
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


class ImageData(DataSource):
    """Labelled images in a training and a test part; one subclass a source.

    A subclass writes `_load`, which sets every attribute below, and may add geometry in `_augmentation` and
    `_framing`.

    Attributes:
        in_channels: 1 for grey images, 3 for colour.
        image_size: side, in pixels, of the squares that the network sees.
        train_labels: [N] int64, in index order.
        test_labels: likewise, of the test part.
        mean: of the training images, one a channel, on a scale where 1.0 is white; None where a user's own transforms
            normalise.
        std: likewise, the standard deviation.
        notes: what else to tell of what was found, such as the number of files that are not read.
        learned_policy: which of AutoAugment's published policies suits the images.
        shape: of a published set, known before it is read; None where it has to be read.
    """

    shape: ClassVar[Shape | None] = None
    learned_policy: ClassVar[Learned] = "imagenet"
    loader_keys = (
        *("num_workers", "prefetch_factor", "augment_on", "split", "split_file", "val_fraction", "augment_val"),
        *("search_fractions", "search_seed", "search_split"),
    )

    in_channels: int
    image_size: int
    test_labels: np.ndarray
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()

    _images: dict[Part, Sequence[Any] | Tensor]

    def found(self) -> str:
        """Return one line about the images: their classes, their number, and what was left out."""
        self.prepare()
        train, test = len(self.train_labels), len(self.test_labels)
        names = ", ".join(self.class_names[:NAMED]) + (", …" if self.num_classes > NAMED else "")
        counts = f"{train + test} images ({train} to train on, {test} to test on)"
        return " · ".join([f"{self.num_classes} classes: {names}", counts, *self.notes])

    def dataset(
        self, part: Part, augment: bool, cutout: int = 0, policy: Policy = "standard"
    ) -> Dataset[tuple[Tensor, int]]:
        """Return a dataset of (normalised float32 image [C, H, W], label); `BatchedImages` where that is possible.

        Args:
            part: the images of the training or of the test part.
            augment: whether images are randomly cropped, flipped and so on, as is usual for the source.
            cutout: side, in pixels, of a random square that is blanked; 0 is off.
            policy: what augmentation does besides: nothing (`standard`), or see `data.policies`; images are then
                transformed one by one.

        Raises:
            DataError: The images cannot be used, or the square does not fit them.
        """
        self.prepare()
        assert self.mean is not None
        assert self.std is not None
        steps: list[Transform] = [
            *self._steps(augment, policy),
            Standardise(self.mean, self.std),
            *self._cutout(cutout),
        ]
        labels = self.train_labels if part == "train" else self.test_labels
        images, batched = self._images[part], [step for step in steps if isinstance(step, BatchTransform)]
        if isinstance(images, Tensor) and len(batched) == len(steps):
            return BatchedImages([images], labels, batched)
        return LabelledImages(images, labels, v2.Compose(steps))

    def _steps(self, augment: bool, policy: Policy) -> list[Transform]:
        """Return the transforms before normalisation: raw image to uint8 tensor [C, H, W]."""
        if not augment:
            return self._framing()
        if policy == "standard":
            return self._augmentation()
        return [*self._geometry(), *policy_transforms(policy, self.learned_policy)]

    def levels(self, part: Part, indices: Sequence[int]) -> list[float]:
        """Return the mean of each of some images, normalised; none where their pixels may differ between two readings.

        Raises:
            DataError: One cannot be read.
        """
        images = self.dataset(part, augment=False)
        return [float(images[index][0].mean()) for index in indices]

    def image_names(self) -> Sequence[str]:
        """Return a name of each training image, in index order: its number, or what a source with files overrides.

        Names are text, differ from each other, and stay as they are where the images move as a whole.
        """
        return [str(index) for index in range(len(self.train_labels))]

    def find_images(self, names: Sequence[str], labels: Sequence[str], given: str) -> np.ndarray:
        """Return the indices of training images, int64, in the order of the names.

        Args:
            names: Those of `image_names`.
            labels: The name of the class of each.
            given: Key and value that gave them, for messages.

        Raises:
            DataError: There is no such image, or it has another class.
        """
        place = {name: index for index, name in enumerate(self.image_names())}
        missing = [name for name in names if name not in place]
        if missing:
            raise DataError(
                f"{given}: {len(missing)} of {len(names)} images are not among the training images, e.g."
                f" {shown(missing[0])}; give the list of these images, or draw anew with data.search_split=null"
            )
        found = np.array([place[name] for name in names], dtype=np.int64)
        for name, label, index in zip(names, labels, found.tolist(), strict=True):
            here = str(self.class_names[self.train_labels[index]])
            if label != here:
                raise DataError(
                    f"{given}: image {shown(name)} has class {shown(label)} there, but {shown(here)} here; give the"
                    " list of these images"
                )
        return found

    def preprocessing(self) -> Preprocessing | None:
        """Return the steps that turn an image file into pixels like those of the test images; None if unknown."""
        return Preprocessing(self.in_channels, self.image_size, self.image_size)

    def sizes(self) -> tuple[int, ...]:
        """Return channels, side and number of classes."""
        return self.in_channels, self.image_size, self.num_classes

    def fill(self) -> dict[str, Any]:
        """Return the side of the images."""
        return {"image_size": self.image_size}

    def example(self, batch_size: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return images [B, C, H, W] and labels [B] with arbitrary content."""
        images = torch.empty(batch_size, self.in_channels, self.image_size, self.image_size, device=device)
        return images, torch.empty(batch_size, dtype=torch.long, device=device)

    def fingerprint(self) -> dict[str, Any]:
        """Return classes, sizes, labels, and the mean level of a sample of the images; see `data.fingerprint`.

        Raises:
            DataError: An image of the sample cannot be read.
        """
        labels: tuple[tuple[Part, np.ndarray], ...] = (("train", self.train_labels), ("test", self.test_labels))
        return {
            "classes": list(map(str, self.class_names)),
            "channels": int(self.in_channels),
            "image_size": int(self.image_size),
            **{part: sampled(found, partial(self.levels, part)) for part, found in labels},
        }

    def difference(self, kept: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        """Return in which way images differ from those of a kept fingerprint; "" if they are the same."""
        return difference(kept, found)

    def _split(self, images: Tensor, labels: np.ndarray, test_fraction: float) -> None:
        """Take images uint8 [N, C, S, S] with their labels [N], a share of each class for the test part."""
        test, train = stratified_cut(labels, np.arange(len(labels)), test_fraction)
        self._images = {"train": images[train], "test": images[test]}
        self.train_labels, self.test_labels = labels[train], labels[test]
        self.mean, self.std = channel_statistics(images[train])
        self.in_channels, self.image_size = images.shape[1:3]

    def _augmentation(self) -> list[Transform]:
        """Return the random geometry and colour of training: raw image to uint8 tensor [C, H, W]."""
        return self._framing()

    def _geometry(self) -> list[Transform]:
        """Return the random geometry alone, which a policy follows; all of `_augmentation` where it has no colour."""
        return self._augmentation()

    def _framing(self) -> list[Transform]:
        """Return the deterministic counterpart; none for raw images that are such tensors already."""
        return []

    def _cutout(self, length: int) -> list[Transform]:
        if not 0 <= length <= self.image_size:
            raise DataError(
                f"cutout={length} does not fit images of {self.image_size}x{self.image_size} pixels; "
                f"allowed: 0 (off) to {self.image_size}; use, e.g., evaluation.cutout={self.image_size // 2}"
            )
        return [Cutout(length)] if length else []


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of uint8 images [N, C, H, W], on a scale of 0 to 1.

    A channel of one constant value gets the deviation 1, so that normalising it stays finite.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    # By histogram: exact in float64, and no float copy of all images.
    means, stds = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = float(share @ levels)
        means.append(mean)
        stds.append(float(share @ (levels - mean) ** 2) ** 0.5 or 1.0)
    return tuple(means), tuple(stds)
