"""Images that lie in memory and are augmented a whole batch at once, by a few tensor operations on any device."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset
from torchvision.transforms import v2

from nas_lightning.data.transforms import BatchTransform


class Raw(NamedTuple):
    """Images of a batch with all that `BatchedImages.finish` needs to augment them.

    Attributes:
        images: uint8 [B, C, H, W].
        words: int64 [B, `BatchedImages.words`], what chance has drawn for each.
        stream: name of the use, e.g. `train`.
    """

    images: Tensor
    words: Tensor
    stream: str


class BatchedImages(Dataset[tuple[Tensor, int]]):
    """Images beside their labels, transformed when they are asked for, one by one or a batch at once.

    Args:
        parts: uint8 tensors [N, C, H, W] that follow each other.
        labels: [N] int64, of all of them.
        transforms: make a float32 tensor [C, H, W] of such an image, in this order.
    """

    def __init__(self, parts: Sequence[Tensor], labels: np.ndarray, transforms: Sequence[BatchTransform]) -> None:
        self.parts = tuple(parts)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.transforms = tuple(transforms)
        self._single = v2.Compose(list(transforms))
        self._starts = np.cumsum([0, *(len(part) for part in self.parts)]).tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        label = int(self.labels[index])  # refuses an index that is too large
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._single(self.parts[part][index - self._starts[part]]), label

    @property
    def words(self) -> int:
        """32-bit numbers that chance needs for an image."""
        return sum(transform.words for transform in self.transforms)

    def raw(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Images, uint8 [B, C, H, W], and labels, int64 [B], as they are stored."""
        chosen = np.asarray(indices)
        labels = torch.from_numpy(self.labels[chosen])
        if len(self.parts) == 1:
            return self.parts[0].index_select(0, torch.from_numpy(chosen)), labels
        images = self.parts[0].new_empty((len(chosen), *self.parts[0].shape[1:]))
        for part, start in zip(self.parts, self._starts, strict=False):
            (here,) = np.nonzero((chosen >= start) & (chosen < start + len(part)))
            images[torch.from_numpy(here)] = part.index_select(0, torch.from_numpy(chosen[here] - start))
        return images, labels

    def finish(self, images: Tensor, words: Tensor) -> Tensor:
        """The transforms of a whole batch: what each image alone would have become, float32 [B, C, H, W].

        Args:
            images: uint8 [B, C, H, W].
            words: int64 [B, `words`], on the same device.
        """
        used = 0
        for transform in self.transforms:
            images = transform.batch(images, words[:, used : used + transform.words])
            used += transform.words
        return images


def joined(first: Dataset[tuple[Tensor, int]], second: Dataset[tuple[Tensor, int]]) -> Dataset[tuple[Tensor, int]]:
    """The items of the first, followed by those of the second, which are transformed likewise."""
    if isinstance(first, BatchedImages) and isinstance(second, BatchedImages):
        labels = np.concatenate([first.labels, second.labels])
        return BatchedImages([*first.parts, *second.parts], labels, first.transforms)
    return ConcatDataset([first, second])
