"""Sources of pairs of images with true disparities, and the rendered one that is built in.

Shapes: B pairs, C channels of an image, H = `height` rows and W = `width` columns that networks see.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from nas_lightning.core.errors import DataError
from nas_lightning.core.space import Kind
from nas_lightning.data.base import Part
from nas_lightning.data.source import DataSource
from nas_lightning.data.stereo_augmentation import StereoAugmentation
from nas_lightning.data.stereo_scenes import SceneSettings, render

Stereo = tuple[Tensor, Tensor, Tensor]
"""Left and right image in [0, 1], each [C, H, W], and the disparity [1, H, W] in pixels, NaN where it is not known."""
LOOKED_AT = 64
"""Training pairs whose colours and disparities describe a set; all, if there are no more."""
TRIES = 5
SAMPLE = 16
"""Pairs of either part in a fingerprint, evenly spaced."""
TOLERANCE = 0.01
"""How far two levels of one image, or two mean disparities, may be apart."""
PARTS: tuple[Part, Part] = ("train", "test")


class StereoData(DataSource):
    """Pairs of rectified images in a training and a test part; one subclass a source.

    Constructors only keep their arguments. A subclass writes `_load`, which sets every attribute below but the last
    four, and `pair`.

    Args:
        augmentation: Factor of the variances of the augmentation of training pairs; 0: none.

    Attributes:
        name: of the set, in tables and file names.
        in_channels: Channels C of an image.
        height: H.
        width: W.
        train_labels: [N] zeros, one a training pair: there are no classes.
        test_labels: likewise, of the test part.
        notes: what else to tell of what was found.
        mean: of the images, one a channel, on a scale where 1.0 is white.
        std: likewise, the standard deviation.
        mean_disparity: in pixels.
        max_disparity: in pixels; of the training pairs that were looked at, where the source does not say.
    """

    kind: ClassVar[Kind] = "stereo"
    loader_keys = ("num_workers", "prefetch_factor", "split", "val_fraction", "augment_val")

    in_channels = 3
    height: int
    width: int
    num_classes = 1
    class_names = ("disparity",)
    test_labels: np.ndarray
    notes: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    mean_disparity: float = 0.0
    max_disparity: float = 0.0
    augmentation: float = 1.0

    def prepare(self) -> None:
        """Read or render the pairs, once.

        Raises:
            DataError: They are missing or cannot be used.
        """
        if not self._prepared:
            super().prepare()
            self._look()

    def found(self) -> str:
        """Return one line about the pairs: their number and size, and their disparities."""
        self.prepare()
        train, test = len(self.train_labels), len(self.test_labels)
        pairs = f"{train + test} pairs of {self.height}x{self.width} pixels ({train} to train on, {test} to test on)"
        disparities = f"disparities of {self.mean_disparity:.1f} px on average, {self.max_disparity:.1f} px at most"
        return " · ".join([pairs, disparities, *self.notes])

    def pair(self, part: Part, index: int) -> Stereo:
        """Return a pair as it is stored; it may be larger than H x W."""
        raise NotImplementedError

    def occluded(self, index: int) -> Tensor | None:
        """Return which pixels of the left image of a test pair the right one does not show, boolean [1, H, W].

        None where that is not known.
        """
        return None

    def dataset(self, part: Part, augment: bool, cutout: int = 0) -> "StereoPairs":
        """Return a dataset of (normalised pair [2·C, H, W], disparity [1, H, W]).

        Args:
            part: the pairs of the training or of the test part.
            augment: whether pairs are moved and recoloured at random; else the middle is cut out.
            cutout: 0: nothing is blanked, which would leave points without their match.

        Raises:
            DataError: The pairs cannot be used, or something is to be blanked.
        """
        self.prepare()
        if cutout:
            raise DataError(f"cutout={cutout}: blanked pixels of a pair have no match; use cutout=0")
        return StereoPairs(self, part, StereoAugmentation(self.height, self.width, self.augmentation * augment))

    def normalised(self, image: Tensor) -> Tensor:
        """Return an image [C, H, W] with mean 0 and deviation 1 by the training pairs."""
        assert self.mean is not None
        assert self.std is not None
        return (image - image.new_tensor(self.mean)[:, None, None]) / image.new_tensor(self.std)[:, None, None]

    def share_beyond(self, reach: float) -> float:
        """Return the share of known training disparities that are larger than so many pixels, of pairs looked at."""
        self.prepare()
        return float((self._disparities > reach).mean())

    def example(self, batch_size: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return a batch of the shapes of training: [B, 2·C, H, W], and disparities of their mean, [B, 1, H, W]."""
        pairs = torch.randn(batch_size, 2 * self.in_channels, self.height, self.width, device=device)
        return pairs, torch.full((batch_size, 1, self.height, self.width), self.mean_disparity, device=device)

    def sizes(self) -> tuple[int, ...]:
        """Return channels, rows and columns."""
        return self.in_channels, self.height, self.width

    def fingerprint(self) -> dict[str, Any]:
        """Return sizes, numbers of pairs, and mean levels and disparities of a sample of either part.

        Raises:
            DataError: A pair of the sample cannot be read.
        """
        return {
            "size": [int(self.height), int(self.width)],
            **{part: self._sampled(part, number) for part, number in self._numbers().items()},
        }

    def difference(self, kept: Mapping[str, Any], found: Mapping[str, Any]) -> str:
        """Return in which way pairs differ from those of a kept fingerprint; "" if they are the same."""
        if kept.get("size", found.get("size")) != found.get("size"):
            return "pairs of {}x{} pixels, not {}x{}".format(*found["size"], *kept["size"])
        for part in PARTS:
            old, new = kept.get(part), found.get(part)
            if old is None or new is None:
                continue
            if old["pairs"] != new["pairs"]:
                return f"{new['pairs']} {part} pairs, not {old['pairs']}"
            apart = [abs(a - b) > TOLERANCE for a, b in zip(old["levels"], new["levels"], strict=False)]
            if any(apart):
                return f"other {part} pairs: {sum(apart)} of {len(apart)} numbers that were compared differ"
        return ""

    def _numbers(self) -> dict[Part, int]:
        return {"train": len(self.train_labels), "test": len(self.test_labels)}

    def _sampled(self, part: Part, number: int) -> dict[str, Any]:
        """Return the number of pairs of a part, and of some the mean level of the left image and the mean disparity."""
        levels = []
        for index in np.unique(np.linspace(0, number - 1, min(number, SAMPLE)).astype(int)):
            left, _, disparity = self.pair(part, int(index))
            levels += [round(float(left.mean()), 4), round(float(disparity.nanmean()), 4)]
        return {"pairs": number, "levels": levels}

    def _look(self) -> None:
        """Take colours and disparities of some training pairs, spread over all of them."""
        number = len(self.train_labels)
        chosen = np.unique(np.linspace(0, number - 1, min(number, LOOKED_AT)).round().astype(int))
        pairs = [self.pair("train", int(index)) for index in chosen]
        pixels = torch.cat([image.flatten(1) for left, right, _ in pairs for image in (left, right)], dim=1).double()
        self.mean = tuple(pixels.mean(dim=1).tolist())
        self.std = tuple(value or 1.0 for value in pixels.std(dim=1, correction=0).tolist())
        values = torch.cat([disparity.flatten() for *_, disparity in pairs])
        self._disparities = values[torch.isfinite(values)].numpy()
        if not len(self._disparities):
            raise DataError(f"{self.name}: no pixel of {len(pairs)} training pairs has a true disparity; add the truth")
        self.mean_disparity = float(self._disparities.mean(dtype=np.float64))
        self.max_disparity = self.max_disparity or float(self._disparities.max())


class StereoPairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs with their disparities, moved and recoloured when they are indexed.

    Args:
        data: where the pairs come from.
        part: the pairs of the training or of the test part.
        augmentation: What is done to them.
    """

    def __init__(self, data: StereoData, part: Part, augmentation: StereoAugmentation) -> None:
        self.data = data
        self.part: Part = part
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.data.train_labels if self.part == "train" else self.data.test_labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a pair [2·C, H, W] and its disparity [1, H, W].

        Raises:
            DataError: No pixel of it has a true disparity.
        """
        pair = self.data.pair(self.part, index)
        for _ in range(TRIES):  # a window of sparse truth may hold none
            left, right, disparity = self.augmentation(*pair)
            if torch.isfinite(disparity).any():
                return torch.cat([self.data.normalised(left), self.data.normalised(right)]), disparity
        raise DataError(
            f"{self.data.name}: {self.part} pair {index} has no pixel with a true disparity in its window of"
            f" {self.data.height}x{self.data.width} pixels; leave it out, or use a larger window"
        )


class StereoScenes(StereoData):
    """Rendered pairs with exact disparities, built in: nothing to download.

    Scenes are planes in front of a plane; see `stereo_scenes`. The pairs of a part are the same for every seed of a
    run, and the first of them the same whatever their number.

    Args:
        height: Rows of an image.
        width: Columns of an image.
        max_disparity: Largest disparity, in pixels.
        min_disparity: Smallest disparity, in pixels.
        layers: Largest number of shapes in front of the background.
        photometric: Strength of the differences in brightness, contrast and noise between the views; 0: none.
        train_pairs: Pairs to train on.
        test_pairs: Pairs to test on.
        seed: Of the scenes.
        augmentation: Factor of the variances of the augmentation of training pairs; 0: none.
    """

    name = "scenes"

    def __init__(
        self,
        height: Annotated[int, Field(ge=8)] = 64,
        width: Annotated[int, Field(ge=8)] = 128,
        max_disparity: Annotated[float, Field(gt=0)] = 16.0,
        min_disparity: Annotated[float, Field(ge=0)] = 0.0,
        layers: Annotated[int, Field(ge=0)] = 7,
        photometric: Annotated[float, Field(ge=0)] = 1.0,
        train_pairs: Annotated[int, Field(ge=2)] = 320,
        test_pairs: Annotated[int, Field(ge=1)] = 128,
        seed: int = 0,
        augmentation: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        self.settings = SceneSettings(height, width, max_disparity, min_disparity, layers, photometric)
        self.height, self.width, self.max_disparity = height, width, max_disparity
        self.pairs = {"train": train_pairs, "test": test_pairs}
        self.seed = seed
        self.augmentation = augmentation

    def _load(self) -> None:
        self.train_labels, self.test_labels = (np.zeros(self.pairs[part], np.int64) for part in ("train", "test"))
        self._images: dict[Part, Tensor] = {}
        self._truth: dict[Part, Tensor] = {}
        for part in FIRST:
            pairs = [render(self.settings, self.seed, index) for index in self.indices(part)]
            images = np.stack([np.stack([pair.left, pair.right]) for pair in pairs])
            # As in files: a byte a colour. All pairs in float32 would take four times as much memory.
            self._images[part] = torch.from_numpy((255 * images).round().astype(np.uint8))
            self._truth[part] = torch.from_numpy(np.stack([pair.disparity for pair in pairs])).float()[:, None]
            self._occluded = torch.from_numpy(np.stack([pair.occluded for pair in pairs]))[:, None]

    def indices(self, part: Part) -> range:
        """Return the indices of the scenes of a part; those of the parts are disjoint."""
        return range(FIRST[part], FIRST[part] + self.pairs[part])

    def pair(self, part: Part, index: int) -> Stereo:
        """Return a pair [3, H, W] each, and its disparity [1, H, W]."""
        left, right = self._images[part][index].float() / 255
        return left, right, self._truth[part][index]

    def occluded(self, index: int) -> Tensor:
        """Return which pixels of the left image of a test pair the right one does not show, boolean [1, H, W]."""
        return self._occluded[index]


FIRST: dict[Part, int] = {"train": 0, "test": 1_000_000_000}
"""Index of the first scene of each part; the test part is last, and its hidden points are kept."""


def stacked(data: StereoData, part: Part, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return pairs [B, 2·C, H, W] in [0, 1] and disparities [B, 1, H, W], neither augmented nor normalised."""
    cut = StereoAugmentation(data.height, data.width, factor=0.0)
    found = [cut(*data.pair(part, index)) for index in indices]
    images = torch.stack([torch.cat([left, right]) for left, right, _ in found])
    return images, torch.stack([disparity for *_, disparity in found])
