"""CIFAR-10, CIFAR-100 and SVHN, from the files that torchvision reads and fetches."""

from http.client import HTTPException
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torchvision import datasets

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import path_of
from nas_lightning.data.base import ImageData, Part, Shape, Transform
from nas_lightning.data.policies import Learned
from nas_lightning.data.transforms import CropAndFlip


class _TorchvisionSet(ImageData):
    """A torchvision set, both parts in memory; augmented by a crop with 4 pixels of padding and mirroring.

    Args:
        root: folder that holds the files, or will after a download.
        download: fetch the files if they are not there.
    """

    source: ClassVar[type[datasets.VisionDataset]]
    learned_policy: ClassVar[Learned] = "cifar10"

    def __init__(self, root: str = "data", download: bool = False) -> None:
        self.root = root
        self.download = download

    def _load(self) -> None:
        train, test = self._open("train"), self._open("test")
        self._images = {"train": self._pixels(train), "test": self._pixels(test)}
        self.train_labels, self.test_labels = self._labels(train), self._labels(test)
        self.class_names = tuple(getattr(train, "classes", map(str, range(10))))
        self.in_channels, self.image_size, self.num_classes = 3, 32, len(self.class_names)

    def _open(self, part: Part) -> Any:
        """Return torchvision's dataset of a part.

        Raises:
            DataError: It is missing or damaged, or cannot be fetched.
        """
        root = path_of(self.root)
        try:
            return self._read_or_fetch(root, part)
        except (OSError, RuntimeError, HTTPException) as error:
            reason = " ".join(str(error).split())
            if self.download:
                raise DataError(
                    f"could not fetch {self.name} into data.root={self.root} ({reason}); check the network, "
                    "or copy the files there and give data.download=false"
                ) from error
            raise DataError(
                f"{self.name} is missing or damaged in data.root={self.root} ({reason}); "
                "fetch it with data.download=true or give its folder with data.root=FOLDER"
            ) from error

    def _read_or_fetch(self, root: Path, part: Part) -> Any:
        try:
            return self.source(root, download=False, **self._choice(part))
        except (OSError, RuntimeError):
            if not self.download:
                raise
        # The members of a sweep may all start here: one fetches while the others wait, and then find the files.
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{self.name}.lock"):
            return self.source(root, download=True, **self._choice(part))

    def _choice(self, part: Part) -> dict[str, Any]:
        return {"train": part == "train"}

    def _pixels(self, source: Any) -> Tensor:
        return torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()

    def _labels(self, source: Any) -> np.ndarray:
        return np.asarray(source.targets, dtype=np.int64)

    def _augmentation(self) -> list[Transform]:
        return [CropAndFlip(32, padding=4)]


class Cifar10(_TorchvisionSet):
    """CIFAR-10: 50,000 training and 10,000 test images in 10 classes."""

    name = "cifar10"
    shape = Shape(50_000, 10_000, 3, 32, 10)
    source = datasets.CIFAR10
    mean = (0.49139968, 0.48215827, 0.44653124)
    std = (0.24703233, 0.24348505, 0.26158768)


class Cifar100(_TorchvisionSet):
    """CIFAR-100: 50,000 training and 10,000 test images in 100 classes."""

    name = "cifar100"
    shape = Shape(50_000, 10_000, 3, 32, 100)
    source = datasets.CIFAR100
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)


class Svhn(_TorchvisionSet):
    """Street View House Numbers: 73,257 training and 26,032 test images of digits.

    The 531,131 extra images are not used, and images are mirrored although that changes digits: both as in the
    published searches.
    """

    name = "svhn"
    shape = Shape(73_257, 26_032, 3, 32, 10)
    source = datasets.SVHN
    learned_policy = "svhn"
    mean = (0.4377, 0.4438, 0.4728)
    std = (0.1980, 0.2010, 0.1970)

    def _choice(self, part: Part) -> dict[str, Any]:
        return {"split": part}

    def _pixels(self, source: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(source.data))

    def _labels(self, source: Any) -> np.ndarray:
        return source.labels
