"""Loaders that are pure functions of the pass number, and the augmentation of their batches on the device.

The pass number is the trainer's current epoch: nothing has to be counted, saved or restored. The Trainer must request
the loaders in each epoch (`reload_dataloaders_every_n_epochs=1`).
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from nas_lightning.core.errors import ConfigError, DataError
from nas_lightning.data.base import ImageData
from nas_lightning.data.batched import BatchedImages, Raw, concatenate
from nas_lightning.data.benchmark_split import benchmark_split
from nas_lightning.data.loading import PassLoader
from nas_lightning.data.passes import PassModule
from nas_lightning.data.search_subsets import check_subsets, drawn_subsets, listed_subsets
from nas_lightning.data.splits import SearchSplit, SplitMethod, search_split

Item = tuple[Tensor, int]
AugmentOn = Literal["auto", "loader", "device"]


class KeyedDataModule(PassModule):
    """Base of the data modules of search and evaluation: the split, and loaders without memory.

    With several processes each one reads its own part of every pass, and `batch_size` is that of each process.

    Raises:
        DataError: `val_fraction`, `split_file` or one of the keys of search subsets contradicts `split`.
    """

    data: ImageData

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
        prefetch_factor: int,
        augment_on: AugmentOn,
        search_fractions: Sequence[float] | None = None,
        search_seed: int = 0,
        search_split: str | None = None,
    ) -> None:
        super().__init__()
        check_subsets(search_fractions, search_seed, search_split, split, val_fraction)
        if split == "benchmark" and val_fraction:
            raise DataError(
                f"data.val_fraction={val_fraction}: data.split=benchmark fixes the parts itself; use"
                " data.val_fraction=0"
            )
        if split != "benchmark" and split_file is not None:
            raise DataError(
                f"data.split_file={split_file}: only data.split=benchmark reads it, not data.split={split}; use"
                " data.split=benchmark"
            )
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.split_method: SplitMethod = split
        self.val_fraction = val_fraction
        self.cutout = cutout
        self.split_file = split_file
        self.prefetch_factor = prefetch_factor
        self.augment_on: AugmentOn = augment_on
        self.search_fractions = search_fractions
        self.search_seed = search_seed
        self.search_split = search_split
        self._persistent: dict[str, PassLoader] = {}
        self._sources: dict[str, Dataset[Item]] = {}

    def setup(self, stage: str) -> None:
        """Read the images, in every process."""
        self.data.prepare()

    def _search_split(self) -> SearchSplit:
        """Return the indices of train, arch and val."""
        self.data.prepare()
        if self.search_split is not None:
            return listed_subsets(self.search_split, self.data)
        if self.search_fractions is not None:
            return drawn_subsets(self.data.train_labels, self.search_fractions, self.val_fraction, self.search_seed)
        if self.split_method == "benchmark":
            return benchmark_split(self.split_file, self.data.train_labels, self.data.test_labels)
        return self._drawn_split()

    def _drawn_split(self) -> SearchSplit:
        return search_split(self.data.train_labels, self.split_method, val_fraction=self.val_fraction)

    def _split_images(self, split: SearchSplit, augment: bool, cutout: int = 0) -> Dataset[Item]:
        """Return the dataset that the split indexes: the training images, then the test images if it has some."""
        train = self.data.dataset("train", augment, cutout)
        if split.held_out is None:
            return train
        return concatenate(train, self.data.dataset("test", augment, cutout))

    def _check_augment_on(self, dataset: Dataset[Item]) -> None:
        """Refuse augmentation on the device for images that are not transformed a batch at once."""
        if self.augment_on == "device" and not isinstance(dataset, BatchedImages):
            raise ConfigError(
                f"data.augment_on=device: the images of {self.data.name} are transformed one by one, not by the batch;"
                " allowed: auto, loader; use data.augment_on=auto"
            )

    def _on_device(self, dataset: Dataset[Item]) -> bool:
        """Return whether a Trainer's batches are augmented after their transfer."""
        wanted = self.augment_on == "device" or (self.augment_on == "auto" and self._on_cuda)
        return wanted and isinstance(dataset, BatchedImages)

    def _loader(
        self,
        dataset: Dataset[Item],
        stream: str,
        indices: np.ndarray,
        batch_size: int | None = None,
        by_trainer: bool = True,
    ) -> PassLoader:
        """Return a loader of the dataset in the order of the indices, augmented by (seed, stream, pass, position).

        A Trainer gets the same loader in each pass, so that its workers persist, and batches to be augmented after
        their transfer if `augment_on` says so; other callers get a loader of their own and augmented batches.
        """
        by_trainer = by_trainer and self.trainer is not None
        loader = self._persistent.get(stream) if by_trainer else None
        # A loader that is still being read cannot be reused: a second iteration would reset its workers.
        if loader is None or loader.source is not dataset or loader.left:
            loader = PassLoader(
                dataset,
                self.seed,
                stream,
                self.num_workers,
                self.prefetch_factor,
                pin_memory=self._on_cuda,
                finished=not (by_trainer and self._on_device(dataset)),
                persistent=by_trainer,
                processes=self.processes,
                rank=self.trainer.global_rank if self.trainer else 0,
            )
        if by_trainer:
            # `on_after_batch_transfer` finds the transforms of a batch by its stream.
            self._sources[stream] = dataset
            if self.num_workers:  # only workers make a loader worth keeping
                self._persistent[stream] = loader
        return loader.begin(self.pass_number, indices, batch_size or self.batch_size)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment `Raw` batches on the device, and pass others through; Lightning calls this for every batch."""
        if isinstance(batch, dict):
            return {stream: self.on_after_batch_transfer(part, dataloader_idx) for stream, part in batch.items()}
        images, labels = batch
        if not isinstance(images, Raw):
            return batch
        source = self._sources[images.stream]
        assert isinstance(source, BatchedImages)
        return source.finish(images.images, images.words), labels

    def teardown(self, stage: str) -> None:
        """Drop the loaders, and with them their workers."""
        self._persistent.clear()
