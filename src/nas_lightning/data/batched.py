"""Augment images that lie in memory a whole batch at once, by a few tensor operations on any device."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset
from torchvision.transforms import v2

from nas_lightning.data.transforms import BatchTransform


class Raw(NamedTuple):
    """A batch as it is stored, with the random words that `BatchedImages.finish` augments it by.

    Attributes:
        images: uint8 [B, C, H, W].
        words: int64 [B, `BatchedImages.words`], the random words of each.
        stream: name of the use, e.g. `train`.
    """

    images: Tensor
    words: Tensor
    stream: str


class BatchedImages(Dataset[tuple[Tensor, int]]):
    """Pairs of an image and its label, transformed when they are read, one by one or a batch at once.

    Args:
        parts: uint8 tensors [N, C, H, W], concatenated.
        labels: [N] int64, of all of them.
        transforms: turn such an image into a float32 tensor [C, H, W], in this order.
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
        """Number of 32-bit random words that one image needs."""
        return sum(transform.words for transform in self.transforms)

    def raw(self, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Return images, uint8 [B, C, H, W], and labels, int64 [B], as they are stored."""
        chosen = np.asarray(indices)
        labels = torch.from_numpy(self.labels[chosen])
        # One part needs no scatter of rows, which would double the copying.
        if len(self.parts) == 1:
            return self.parts[0].index_select(0, torch.from_numpy(chosen)), labels
        images = self.parts[0].new_empty((len(chosen), *self.parts[0].shape[1:]))
        for part, start in zip(self.parts, self._starts, strict=False):
            (here,) = np.nonzero((chosen >= start) & (chosen < start + len(part)))
            images[torch.from_numpy(here)] = part.index_select(0, torch.from_numpy(chosen[here] - start))
        return images, labels

    def finish(self, images: Tensor, words: Tensor) -> Tensor:
        """Transform a whole batch, float32 [B, C, H, W]; to the bit what each image alone would have become.

        Args:
            images: uint8 [B, C, H, W].
            words: int64 [B, `words`], on the same device.
        """
        # Each transform takes its words in order, as single images draw them from the generator.
        used = 0
        for transform in self.transforms:
            images = transform.batch(images, words[:, used : used + transform.words])
            used += transform.words
        return images


def concatenate(first: Dataset[tuple[Tensor, int]], second: Dataset[tuple[Tensor, int]]) -> Dataset[tuple[Tensor, int]]:
    """Return the items of the first, followed by those of the second, which must have the same transforms."""
    if isinstance(first, BatchedImages) and isinstance(second, BatchedImages):
        labels = np.concatenate([first.labels, second.labels])
        return BatchedImages([*first.parts, *second.parts], labels, first.transforms)
    return ConcatDataset([first, second])
