"""Loaders for the search and the retraining.

They are pure functions of the pass number, which is the trainer's current epoch: nothing has to be counted,
saved or restored. The Trainer must be told to ask for them anew in each epoch
(`reload_dataloaders_every_n_epochs=1`).
"""

import sys
from typing import Annotated, Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import Field
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, DistributedSampler

from nas_lightning.data.base import ImageData
from nas_lightning.data.benchmark_split import benchmark_split
from nas_lightning.data.keyed import KeyedDataset, order
from nas_lightning.data.splits import SearchSplit, SplitMethod, search_split
from nas_lightning.draws import hashed_seed
from nas_lightning.errors import DataError

Item = tuple[Tensor, int]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class _KeyedDataModule(LightningDataModule):
    """What the two kinds of data modules share: the split, and loaders without memory.

    With several processes each one gets its own part of every pass, and `batch_size` counts for each process.
    """

    def __init__(
        self,
        data: ImageData,
        batch_size: int,
        seed: int,
        num_workers: int,
        split: SplitMethod,
        val_fraction: float,
        cutout: int,
        split_file: str | None,
    ) -> None:
        super().__init__()
        if split == "benchmark" and val_fraction:
            raise DataError(
                f"data.val_fraction={val_fraction}: data.split=benchmark says itself which images are which; use"
                " data.val_fraction=0"
            )
        if split != "benchmark" and split_file is not None:
            raise DataError(
                f"data.split_file={split_file}: is read with data.split=benchmark only, not with data.split={split};"
                " use data.split=benchmark"
            )
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.split_method: SplitMethod = split
        self.val_fraction = val_fraction
        self.cutout = cutout
        self.split_file = split_file

    first_pass = 0
    """Passes made before this fit: a later stage of a search goes on from them."""

    @property
    def pass_number(self) -> int:
        """How many times the training images were passed through before; `first_pass` without a trainer."""
        return self.first_pass + (self.trainer.current_epoch if self.trainer else 0)

    @property
    def processes(self) -> int:
        """Among how many processes each pass is divided."""
        return self.trainer.world_size if self.trainer else 1

    def prepare_data(self) -> None:
        """Fetches what is to be fetched, in one process."""
        self.data.prepare()

    def setup(self, stage: str) -> None:
        """Reads the images, in every process."""
        self.data.prepare()

    def _search_split(self) -> SearchSplit:
        """Which images belong to train, arch and val."""
        self.data.prepare()
        if self.split_method == "benchmark":
            return benchmark_split(self.split_file, self.data.train_labels, self.data.test_labels)
        return search_split(self.data.train_labels, self.split_method, val_fraction=self.val_fraction)

    def _searched(self, split: SearchSplit, augment: bool, cutout: int = 0) -> Dataset[Item]:
        """What the indices of the split are of: the training images, followed by the test images where it has some."""
        train = self.data.dataset("train", augment, cutout)
        if split.held_out is None:
            return train
        return ConcatDataset([train, self.data.dataset("test", augment, cutout)])

    def _train_length(self, count: int) -> int:
        """Images used in a pass: all, less a lone one in the last batch, which BatchNorm would refuse."""
        per_process = -(-count // self.processes)
        lone = per_process > 1 and per_process % self.batch_size == 1
        return (per_process - 1) * self.processes if lone else count

    def _loader(
        self, dataset: Dataset[Item], stream: str, indices: np.ndarray, batch_size: int | None = None
    ) -> DataLoader[Any]:
        """Reads the dataset in the order of the indices, augmented by (seed, stream, pass, position)."""
        keyed = KeyedDataset(dataset, self.seed, self.pass_number, indices, stream)
        sampler: DistributedSampler[Item] | None = None
        if self.processes > 1 and self.trainer:
            sampler = DistributedSampler(keyed, self.processes, self.trainer.global_rank, shuffle=False)
        # Without a generator of its own a loader would draw from the global one whenever it starts. The other
        # ways to start workers fail under joblib's launcher.
        fork = "fork" if self.num_workers and sys.platform == "linux" else None
        return DataLoader(
            keyed,
            batch_size=batch_size or self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(hashed_seed(self.seed, stream, self.pass_number)),
            multiprocessing_context=fork,
        )


class SearchData(_KeyedDataModule):
    """The images of a search: two streams to train on, `train` and `arch`, and `val` to look at.

    A training batch is `{"train": (images, labels), "arch": (images, labels)}`. An epoch passes through the
    train images once; its last batch may be smaller, and is left out if it would hold one image. The arch
    stream has as many batches, all of them full: it goes through its images without replacement, again and
    again.

    Args:
        data: where the images come from.
        batch_size: images of either stream in a step, in each process.
        seed: of the run; decides the order and the augmentation, not the split.
        num_workers: processes that load images; 0 loads in the training process.
        split: `stratified` or `halves_by_order`, see `nas_lightning.data.search_split`; `benchmark`, see
            `nas_lightning.data.benchmark_split`.
        val_fraction: share of the training images set aside for val; 0: val is the arch half.
        augment_val: whether the arch half, when it serves as val, is augmented as in the published searches;
            images that were set aside never are.
        cutout: side, in pixels, of the square that augmentation blanks; 0 is off.
        split_file: for `benchmark`, the file with its lists of images.
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
    ) -> None:
        super().__init__(data, batch_size, seed, num_workers, split, val_fraction, cutout, split_file)
        self.augment_val = augment_val

    def setup(self, stage: str) -> None:
        """Splits the images and makes the datasets; raises DataError if they do not suffice."""
        self.split = self._search_split()
        if self.batch_size > len(self.split.train):
            raise DataError(
                f"search.batch_size={self.batch_size} is more than the {len(self.split.train)} images of the "
                f"train half: give at most that, e.g. search.batch_size={max(1, len(self.split.train) // 8)}"
            )
        if self.batch_size > len(self.split.arch):
            raise DataError(
                f"search.batch_size={self.batch_size} is more than the {len(self.split.arch)} images of the arch half,"
                f" whose batches are always full: give at most that, e.g. search.batch_size={len(self.split.arch)}"
            )
        self.augmented = self._searched(self.split, augment=True, cutout=self.cutout)
        self.plain = self._searched(self.split, augment=False)

    def train_dataloader(self) -> dict[str, DataLoader[Any]]:
        """Both streams, with equally many batches."""
        length = self._train_length(len(self.split.train))
        train = order(self.split.train, self.seed, "train", self.pass_number, length)

        steps = -(-length // (self.batch_size * self.processes))
        arch_batch = min(self.batch_size, max(1, len(self.split.arch) // self.processes))
        length = steps * arch_batch * self.processes
        arch = order(self.split.arch, self.seed, "arch", self.pass_number, length)
        return {
            "train": self._loader(self.augmented, "train", train),
            "arch": self._loader(self.augmented, "arch", arch, arch_batch),
        }

    @property
    def val_is_augmented(self) -> bool:
        """Whether `val` is the arch half with its augmentation, as published."""
        return self.augment_val and not self.val_fraction

    def val_dataloader(self) -> DataLoader[Any]:
        """The val part in index order."""
        return self._loader(self.augmented if self.val_is_augmented else self.plain, "val", self.split.val)

    def selection_dataloader(self) -> DataLoader[Any]:
        """The val part in one shuffled order, always the same: its first batches are of all classes."""
        dataset = self.augmented if self.val_is_augmented else self.plain
        return self._loader(dataset, "selection", order(self.split.val, self.seed, "selection", 0))

    def fixed_arch_batch(self) -> tuple[Tensor, Tensor]:
        """The same augmented images of the arch half whenever it is asked for; which ones, the seed decides."""
        size = min(self.batch_size, len(self.split.arch))
        chosen = order(self.split.arch, self.seed, "fixed arch batch", 0, size)
        items = KeyedDataset(self.augmented, self.seed, 0, chosen, "fixed arch batch").__getitems__(range(size))
        images, labels = zip(*items, strict=True)
        return torch.stack(images), torch.tensor(labels)


class EvaluationData(_KeyedDataModule):
    """The images on which a found network is trained from scratch.

    Args:
        data: where the images come from.
        batch_size: images in a step, in each process.
        seed: of the run; decides the order and the augmentation.
        num_workers: processes that load images; 0 loads in the training process.
        cutout: side, in pixels, of the square that augmentation blanks; 0 is off.
        images: `full` trains on all training images and looks at the test part, or at what a benchmark's split
            leaves of it. `search_halves`, for choosing among candidates, trains on the train half of the search and
            looks at its val part, not augmented: the test part is not touched.
        split: as for the search, used by `search_halves`.
        val_fraction: likewise.
        split_file: as for the search.
    """

    def __init__(
        self,
        data: ImageData,
        batch_size: Positive,
        seed: int,
        num_workers: Count = 0,
        cutout: Count = 0,
        images: Literal["full", "search_halves"] = "full",
        split: SplitMethod = "stratified",
        val_fraction: Fraction = 0.0,
        split_file: str | None = None,
    ) -> None:
        super().__init__(data, batch_size, seed, num_workers, split, val_fraction, cutout, split_file)
        self.images = images

    def setup(self, stage: str) -> None:
        """Makes the datasets; raises DataError if the images cannot be used."""
        self.data.prepare()
        self.augmented = self.data.dataset("train", augment=True, cutout=self.cutout)
        if self.images == "full":
            self.held_out = self.data.dataset("test", augment=False)
            self.train_indices = np.arange(len(self.data.train_labels))
            self.held_out_indices = np.arange(len(self.data.test_labels))
            if self.split_method == "benchmark":
                rest = self._search_split().held_out
                self.held_out_indices = self.held_out_indices if rest is None else rest
        else:
            split = self._search_split()
            self.held_out = self._searched(split, augment=False)
            self.train_indices, self.held_out_indices = split.train, split.val

    def train_dataloader(self) -> DataLoader[Any]:
        """All training images in a fresh order, less a lone one in the last batch."""
        length = self._train_length(len(self.train_indices))
        shuffled = order(self.train_indices, self.seed, "train", self.pass_number, length)
        return self._loader(self.augmented, "train", shuffled)

    def val_dataloader(self) -> DataLoader[Any]:
        """What is looked at after each epoch: the test part, or the val part of the search."""
        return self._loader(self.held_out, "val", self.held_out_indices)

    def test_dataloader(self) -> DataLoader[Any]:
        """The same images, for the final figures."""
        return self._loader(self.held_out, "test", self.held_out_indices)
