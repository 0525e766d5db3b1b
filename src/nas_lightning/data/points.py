"""Sources of labelled point clouds, and the built-in one, made of handwritten digits.

Shapes: M clouds of a part, N = `points` points that networks see, P ≥ N points that are stored.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from nas_lightning.core.draws import hashed_seed
from nas_lightning.core.errors import DataError
from nas_lightning.core.space import Kind
from nas_lightning.data.base import NAMED, Part
from nas_lightning.data.fingerprint import difference, sampled
from nas_lightning.data.point_augmentation import PointAugmentation
from nas_lightning.data.source import DataSource
from nas_lightning.data.splits import stratified_cut

Degrees = Annotated[float, Field(ge=0, le=180)]
Factor = Annotated[float, Field(ge=1)]
Reach = Annotated[float, Field(ge=0)]
Points = Annotated[int, Field(ge=2)]
PIXELS, SHADES = 8, 16
"""Side of the digits' images, and the darkest of their shades."""


class PointData(DataSource):
    """Point clouds with classes, in a training and a test part; one subclass a source.

    Constructors only keep their arguments. A subclass writes `_load`, which sets every attribute below, and `_clouds`.

    Attributes:
        in_channels: Coordinates of a point.
        points: N.
        train_labels: [M] int64, in index order.
        test_labels: likewise, of the test part.
        resample: Whether training clouds are N of the P stored points, drawn anew at each reading; else the first N.
        augmentation: What is done to training clouds at random.
    """

    kind: ClassVar[Kind] = "points"
    loader_keys = ("num_workers", "prefetch_factor", "split", "val_fraction", "augment_val")

    in_channels = 3
    points: int
    test_labels: np.ndarray
    resample: bool = False
    augmentation: PointAugmentation

    _clouds: dict[Part, Tensor]
    """float32 [M, 3, P]."""

    def found(self) -> str:
        """Return one line about the clouds: their classes, their number and their size."""
        self.prepare()
        train, test = len(self.train_labels), len(self.test_labels)
        names = ", ".join(self.class_names[:NAMED]) + (", …" if self.num_classes > NAMED else "")
        counts = f"{train + test} point clouds ({train} to train on, {test} to test on)"
        return " · ".join([f"{self.num_classes} classes: {names}", counts, f"{self.points} points each"])

    def dataset(self, part: Part, augment: bool, cutout: int = 0) -> "PointClouds":
        """Return a dataset of (cloud [3, N], label).

        Args:
            part: The clouds of the training or of the test part.
            augment: Whether clouds are turned, stretched and moved at random.
            cutout: 0: points have no pixels that could be blanked.

        Raises:
            DataError: The clouds cannot be used, or something is to be blanked.
        """
        self.prepare()
        if cutout:
            raise DataError(f"cutout={cutout}: point clouds have no pixels to blank; use cutout=0")
        return PointClouds(self, part, augment)

    def cloud(self, part: Part, index: int) -> Tensor:
        """Return a cloud as it is stored, [3, P]."""
        return self._clouds[part][index]

    def sizes(self) -> tuple[int, ...]:
        """Return coordinates, points and number of classes."""
        return self.in_channels, self.points, self.num_classes

    def example(self, batch_size: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return clouds [B, 3, N] and labels [B] with arbitrary content."""
        clouds = torch.randn(batch_size, self.in_channels, self.points, device=device)
        return clouds, torch.zeros(batch_size, dtype=torch.long, device=device)

    def fingerprint(self) -> dict[str, Any]:
        """Return classes, sizes, labels, and the mean distance from the middle of a sample of the clouds."""
        labels: tuple[tuple[Part, np.ndarray], ...] = (("train", self.train_labels), ("test", self.test_labels))
        return {
            "classes": list(map(str, self.class_names)),
            "points": int(self.points),
            **{part: sampled(found, partial(self.levels, part)) for part, found in labels},
        }

    def difference(self, kept: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        """Return in which way clouds differ from those of a kept fingerprint; "" if they are the same."""
        if kept.get("points", found.get("points")) != found.get("points"):
            return f"{found['points']} points a cloud, not {kept['points']}"
        return difference(kept, found).replace("images", "clouds")

    def levels(self, part: Part, indices: Sequence[int]) -> list[float]:
        """Return the mean distance of the stored points from the middle, for each of some clouds."""
        return [float(self.cloud(part, index).norm(dim=0).mean()) for index in indices]


class PointClouds(Dataset[tuple[Tensor, int]]):
    """Clouds with their labels, resampled and augmented when they are indexed.

    Args:
        data: Where the clouds come from.
        part: The clouds of the training or of the test part.
        augment: Whether they are resampled and augmented; else they are the first N points as they are.
    """

    def __init__(self, data: PointData, part: Part, augment: bool) -> None:
        self.data = data
        self.part: Part = part
        self.augment = augment
        self.labels = data.train_labels if part == "train" else data.test_labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a cloud [3, N] and its label; draws from torch's global generator."""
        cloud, label = self.data.cloud(self.part, index), int(self.labels[index])
        if not self.augment:
            return cloud[:, : self.data.points], label
        if self.data.resample:
            cloud = cloud[:, torch.randperm(cloud.shape[1])]
        return self.data.augmentation(cloud[:, : self.data.points]), label


class PointDigits(PointData):
    """The handwritten digits of scikit-learn as point clouds, built in: nothing to download.

    A point is an inked pixel: its column, its row and its ink, each from -1 to 1, moved within the pixel at random. A
    digit of fewer pixels than points has some of its pixels several times, by their ink; of one with more pixels some
    are left out. The clouds are the same for every seed of a run.

    Args:
        points: Points of a cloud.
        test_fraction: Share of each class kept for the test part; the draw is the same for every seed.
        rotation: Largest turn of a training cloud in the plane of the image, to either side, in degrees.
        scale: Largest factor by which a training cloud is stretched along each axis; its inverse is the smallest.
        shift: Largest move of a training cloud along each axis.
        jitter: Standard deviation of what moves each point of a training cloud.
    """

    name = "points_digits"

    def __init__(
        self,
        points: Points = 64,
        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2,
        rotation: Degrees = 15.0,
        scale: Factor = 1.2,
        shift: Reach = 0.1,
        jitter: Reach = 0.02,
    ) -> None:
        self.points = points
        self.test_fraction = test_fraction
        self.augmentation = PointAugmentation(rotation, scale, shift, jitter)

    def _load(self) -> None:
        from sklearn.datasets import load_digits  # importing takes a second; other data need not wait

        digits = load_digits()
        labels = digits.target.astype(np.int64)
        clouds = torch.from_numpy(
            np.stack([cloud_of(image, self.points, index) for index, image in enumerate(digits.images)])
        )
        test, train = stratified_cut(labels, np.arange(len(labels)), self.test_fraction)
        self._clouds = {"train": clouds[train], "test": clouds[test]}
        self.train_labels, self.test_labels = labels[train], labels[test]
        self.num_classes = 10
        self.class_names = tuple(str(name) for name in digits.target_names)


def cloud_of(image: np.ndarray, points: int, index: int) -> np.ndarray:
    """Return a digit as points of column, row and ink.

    Args:
        image: Ink of the pixels from 0 to 16, [8, 8].
        points: N.
        index: Number of the digit, which alone decides what is drawn.

    Returns:
        float32 [3, N] from -1 to 1.
    """
    rng = np.random.default_rng(hashed_seed("points_digits", index))
    rows, columns = np.nonzero(image)
    ink = image[rows, columns]
    order = rng.permutation(len(ink))[:points]
    if len(order) < points:
        order = np.concatenate([order, rng.choice(len(ink), points - len(order), p=ink / ink.sum())])
    within = rng.uniform(-0.5, 0.5, (3, points))
    places = np.stack([columns[order], (PIXELS - 1) - rows[order], ink[order]]) + within
    middle = np.array([(PIXELS - 1) / 2, (PIXELS - 1) / 2, (SHADES + 1) / 2])[:, None]
    half = np.array([PIXELS / 2, PIXELS / 2, SHADES / 2])[:, None]
    return ((places - middle) / half).astype(np.float32)
