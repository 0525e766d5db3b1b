"""The Lightning data modules of a search and of an evaluation."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from nas_lightning.core.errors import DataError
from nas_lightning.core.split_lists import ListedImage
from nas_lightning.data.base import ImageData
from nas_lightning.data.keyed import order
from nas_lightning.data.keyed_module import AugmentOn, KeyedDataModule
from nas_lightning.data.loading import PassLoader, even_length
from nas_lightning.data.policies import Policy
from nas_lightning.data.search_subsets import rows_of
from nas_lightning.data.splits import SplitMethod

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class SearchData(KeyedDataModule):
    """The images of a search: two streams to train on, `train` and `arch`, and `val` to validate on.

    A training batch is `{"train": (images, labels), "arch": (images, labels)}`. An epoch passes through the
    train images once; its last batch may be smaller, and is dropped if it would hold one image. The arch
    stream has as many batches, all of them full: it repeats its images in rounds without replacement.

    Args:
        data: where the images come from.
        batch_size: images of either stream in a step, in each process.
        seed: of the run; decides the order and the augmentation, not the split.
        num_workers: processes that load images; 0 loads in the training process.
        split: `stratified`, `halves_by_order` or `whole`, see `nas_lightning.data.search_split`; `benchmark`, see
            `nas_lightning.data.benchmark_split`.
        val_fraction: share of the training images set aside for val; 0: val is the arch half.
        augment_val: whether the arch half, when it serves as val, is augmented as in the published searches;
            images that were set aside never are.
        cutout: side, in pixels, of the square that augmentation blanks; 0 is off.
        split_file: for `benchmark`, the file with its lists of images.
        prefetch_factor: batches that each of the processes prepares ahead.
        augment_on: where images that lie in memory are augmented: in the `loader`, or on the `device` that they are
            trained on, after the transfer of a batch as it is stored; `auto` is a GPU, if there is one. The images
            are the same.
        search_fractions: shares of the training images of each class that are drawn for train and for arch; None:
            `split` uses all. See `nas_lightning.data.drawn_subsets`.
        search_seed: of that draw, which is the same in runs of any seed.
        search_split: list of the images of every part that an earlier run has written, used instead of a draw or
            `split`; see `nas_lightning.data.listed_subsets`.
    """

    def __init__(
        self,
        data: ImageData,
        batch_size: Positive,
        seed: int,
        num_workers: Count = 0,
        split: SplitMethod = "stratified",
        val_fraction: Fraction = 0.0,
        augment_val: bool = True,
        cutout: Count = 0,
        split_file: str | None = None,
        prefetch_factor: Positive = 4,
        augment_on: AugmentOn = "auto",
        search_fractions: Sequence[float] | None = None,
        search_seed: Count = 0,
        search_split: str | None = None,
    ) -> None:
        super().__init__(
            *(data, batch_size, seed, num_workers, split, val_fraction, cutout, split_file, prefetch_factor),
            *(augment_on, search_fractions, search_seed, search_split),
        )
        self.augment_val = augment_val
        self.val_is_apart = val_fraction > 0  # of a list it is known when that is read

    def setup(self, stage: str) -> None:
        """Split the images and make the datasets.

        Raises:
            ConfigError: The images are too few for the batch size or the processes, or `augment_on` does not fit them.
        """
        self.split = self._search_split()
        self.val_is_apart = self.split.val is not self.split.arch
        each = f" in each of {self.processes} processes" if self.processes > 1 else ""
        if self.batch_size * self.processes > len(self.split.train):
            raise DataError(
                f"search.batch_size={self.batch_size}{each}: more than the {len(self.split.train)} images of the train"
                " half; use at most that, e.g."
                f" search.batch_size={_fitting(len(self.split.train) // self.processes)}"
            )
        self._check_arch(each)
        if len(self.split.val) < self.processes:
            raise DataError(
                f"data.val_fraction={self.val_fraction}: {len(self.split.val)} images of val{each} are too few; use a"
                " larger data.val_fraction"
            )
        self.augmented = self._split_images(self.split, augment=True, cutout=self.cutout)
        self.unaugmented = self._split_images(self.split, augment=False)
        self._check_augment_on(self.augmented)

    def _check_arch(self, each: str) -> None:
        """Refuse an arch half that is smaller than a batch; `each` says of what, where processes share it."""
        if self.batch_size * self.processes > len(self.split.arch):
            raise DataError(
                f"search.batch_size={self.batch_size}{each}: more than the {len(self.split.arch)} images of the arch"
                " half, whose batches are always full; use at most that, e.g."
                f" search.batch_size={len(self.split.arch) // self.processes}"
            )

    def train_dataloader(self) -> dict[str, PassLoader]:
        """Return the streams, with equally many batches."""
        length = even_length(len(self.split.train), self.batch_size, self.processes)
        train = order(self.split.train, self.seed, "train", self.pass_number, length)

        streams = {"train": self._loader(self.augmented, "train", train)}
        if not self.arch_stream:
            return streams
        # Steps follow the train half; a small arch half gets a smaller batch, never a partial one.
        steps = -(-length // (self.batch_size * self.processes))
        arch_batch = min(self.batch_size, max(1, len(self.split.arch) // self.processes))
        length = steps * arch_batch * self.processes
        arch = order(self.split.arch, self.seed, "arch", self.pass_number, length)
        return streams | {"arch": self._loader(self.augmented, "arch", arch, arch_batch)}

    @property
    def val_is_augmented(self) -> bool:
        """True if `val` is the arch half with its augmentation, as published."""
        return self.augment_val and not self.val_is_apart

    def chosen(self) -> list[ListedImage]:
        """Return the images of the parts where they are drawn or listed subsets; none where the parts are all images.

        Raises:
            DataError: The images cannot be used, or cannot be split so.
        """
        if self.search_fractions is None and self.search_split is None:
            return []
        return rows_of(self._search_split(), self.data)

    def val_dataloader(self) -> PassLoader:
        """Return the val part in index order."""
        return self._loader(self.augmented if self.val_is_augmented else self.unaugmented, "val", self.split.val)

    def selection_dataloader(self, batch_size: int | None = None, shuffle: str | None = None) -> PassLoader:
        """Return the val part in a shuffled order, so that its first batches hold all classes.

        Args:
            batch_size: images in a batch; None: those of the search.
            shuffle: key of another order, with another augmentation; None: the one fixed order.
        """
        dataset = self.augmented if self.val_is_augmented else self.unaugmented
        stream = "selection" if shuffle is None else f"selection {shuffle}"
        images = order(self.split.val, self.seed, stream, 0)
        return self._loader(dataset, stream, images, batch_size, by_trainer=False)

    def fixed_arch_batch(self) -> tuple[Tensor, Tensor]:
        """Return one batch of augmented images of the arch half, the same at every call for a given seed."""
        size = min(self.batch_size, len(self.split.arch))
        chosen = order(self.split.arch, self.seed, "fixed arch batch", 0, size)
        loader = PassLoader(self.augmented, self.seed, "fixed arch batch").begin(0, chosen, size)
        images, labels = next(iter(loader))
        return images, labels


class EvaluationData(KeyedDataModule):
    """The images on which a found network is trained from scratch.

    Args:
        data: where the images come from.
        batch_size: images in a step, in each process.
        seed: of the run; decides the order and the augmentation.
        num_workers: processes that load images; 0 loads in the training process.
        cutout: side, in pixels, of the square that augmentation blanks; 0 is off.
        augment: what augmentation does besides, see `nas_lightning.data.policies`.
        images: `full` trains on all training images and tests on the test part, or on what a benchmark's split
            leaves of it. `search_halves`, for choosing among candidates, trains on the train half of the search and
            tests on its val part, not augmented: the test part is not touched.
        split: as for the search, used by `search_halves`.
        val_fraction: likewise.
        split_file: as for the search.
        prefetch_factor: likewise.
        augment_on: likewise.
        search_fractions: as for the search, used by `search_halves`.
        search_seed: likewise.
        search_split: likewise.
    """

    def __init__(
        self,
        data: ImageData,
        batch_size: Positive,
        seed: int,
        num_workers: Count = 0,
        cutout: Count = 0,
        augment: Policy = "standard",
        images: Literal["full", "search_halves"] = "full",
        split: SplitMethod = "stratified",
        val_fraction: Fraction = 0.0,
        split_file: str | None = None,
        prefetch_factor: Positive = 4,
        augment_on: AugmentOn = "auto",
        search_fractions: Sequence[float] | None = None,
        search_seed: Count = 0,
        search_split: str | None = None,
    ) -> None:
        super().__init__(
            *(data, batch_size, seed, num_workers, split, val_fraction, cutout, split_file, prefetch_factor),
            *(augment_on, search_fractions, search_seed, search_split),
        )
        self.images = images
        self.augment: Policy = augment

    def setup(self, stage: str) -> None:
        """Make the datasets.

        Raises:
            ConfigError: The images cannot be used or are too few, or `augment_on` does not fit them, or a choice among
                candidates would be made on the images that they are trained on.
        """
        trains_on_all = self.split_method == "whole" and not self.val_fraction and self.search_split is None
        if self.images == "search_halves" and trains_on_all:
            raise DataError(
                "data.split=whole: candidates would be compared on the images that they are trained on; set some aside,"
                " data.val_fraction=0.1"
            )
        self.data.prepare()
        # A user's own source may override `dataset` without policies.
        policy: dict[str, Any] = {} if self.augment == "standard" else {"policy": self.augment}
        self.augmented = self.data.dataset("train", augment=True, cutout=self.cutout, **policy)
        if self.images == "full":
            self.held_out = self.data.dataset("test", augment=False)
            self.train_indices = np.arange(len(self.data.train_labels))
            self.held_out_indices = np.arange(len(self.data.test_labels))
            if self.split_method == "benchmark":
                rest = self._search_split().held_out
                self.held_out_indices = self.held_out_indices if rest is None else rest
        else:
            split = self._search_split()
            self.held_out = self._split_images(split, augment=False)
            self.train_indices, self.held_out_indices = split.train, split.val
        if min(len(self.train_indices), len(self.held_out_indices)) < self.processes:
            raise DataError(
                f"trainer.devices: {len(self.train_indices)} training and {len(self.held_out_indices)} held-out images"
                f" are too few for {self.processes} processes; use trainer.devices=1"
            )
        self._check_augment_on(self.augmented)

    def train_dataloader(self) -> PassLoader:
        """Return all training images in a fresh order, less a single one in the last batch."""
        length = even_length(len(self.train_indices), self.batch_size, self.processes)
        shuffled = order(self.train_indices, self.seed, "train", self.pass_number, length)
        return self._loader(self.augmented, "train", shuffled)

    def val_dataloader(self) -> PassLoader:
        """Return the images to validate on after each epoch: the test part, or the val part of the search."""
        return self._loader(self.held_out, "val", self.held_out_indices)

    def test_dataloader(self) -> PassLoader:
        """Return the same images, for the final figures."""
        return self._loader(self.held_out, "test", self.held_out_indices)


def _fitting(images: int) -> int:
    """Return a batch size for so many images: eight steps an epoch, or two where that would be tiny batches.

    >>> _fitting(719), _fitting(24), _fitting(1)
    (89, 12, 1)
    """
    return max(1, images // 8, min(16, images // 2))
