"""Loaders that are pure functions of the pass number, and what becomes of their batches on the device.

The pass number is the trainer's current epoch: nothing has to be counted, saved or restored. The Trainer must be told
to ask for the loaders anew in each epoch (`reload_dataloaders_every_n_epochs=1`).
"""

from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import Dataset

from nas_lightning.core.errors import ConfigError, DataError
from nas_lightning.data.base import ImageData
from nas_lightning.data.batched import BatchedImages, Raw, joined
from nas_lightning.data.benchmark_split import benchmark_split
from nas_lightning.data.loading import PassLoader
from nas_lightning.data.splits import SearchSplit, SplitMethod, search_split

Item = tuple[Tensor, int]
AugmentOn = Literal["auto", "loader", "device"]


class KeyedDataModule(LightningDataModule):
    """What the data modules of search and retraining share: the split, and loaders without memory.

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
        prefetch_factor: int,
        augment_on: AugmentOn,
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
        self.prefetch_factor = prefetch_factor
        self.augment_on: AugmentOn = augment_on
        self._lasting: dict[str, PassLoader] = {}
        self._sources: dict[str, Dataset[Item]] = {}

    expected_processes = 1
    """Without a trainer: those of the run whose images are checked."""
    first_pass = 0
    """Passes made before this fit: a later stage of a search goes on from them."""

    @property
    def pass_number(self) -> int:
        """How many times the training images were passed through before; `first_pass` without a trainer."""
        return self.first_pass + (self.trainer.current_epoch if self.trainer else 0)

    @property
    def processes(self) -> int:
        """Among how many processes each pass is divided."""
        return self.trainer.world_size if self.trainer else self.expected_processes

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
        return joined(train, self.data.dataset("test", augment, cutout))

    def _check_augment_on(self, dataset: Dataset[Item]) -> None:
        if self.augment_on == "device" and not isinstance(dataset, BatchedImages):
            raise ConfigError(
                f"data.augment_on=device: the images of {self.data.name} are read or altered one by one, not a batch at"
                " once; allowed: auto, loader; use data.augment_on=auto"
            )

    def _on_device(self, dataset: Dataset[Item]) -> bool:
        """Whether a Trainer's batches are augmented after their transfer."""
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
        """Reads the dataset in the order of the indices, augmented by (seed, stream, pass, position).

        A Trainer gets the same loader in each pass, so that its workers stay, and finishes the batches after their
        transfer if it is asked to; others get a loader of their own and finished batches.
        """
        by_trainer = by_trainer and self.trainer is not None
        loader = self._lasting.get(stream) if by_trainer else None
        if loader is None or loader.source is not dataset or loader.left:  # somebody is still reading that one
            loader = PassLoader(
                dataset,
                self.seed,
                stream,
                self.num_workers,
                self.prefetch_factor,
                pin_memory=self._on_cuda,
                finished=not (by_trainer and self._on_device(dataset)),
                lasting=by_trainer,
                processes=self.processes,
                rank=self.trainer.global_rank if self.trainer else 0,
            )
        if by_trainer:
            self._sources[stream] = dataset
            if self.num_workers:
                self._lasting[stream] = loader
        return loader.begin(self.pass_number, indices, batch_size or self.batch_size)

    @property
    def _on_cuda(self) -> bool:
        strategy = getattr(self.trainer, "strategy", None)
        return strategy is not None and strategy.root_device.type == "cuda"

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment, on the device, what the loaders left as it is stored; Lightning calls this for every batch."""
        if isinstance(batch, dict):
            return {stream: self.on_after_batch_transfer(part, dataloader_idx) for stream, part in batch.items()}
        images, labels = batch
        if not isinstance(images, Raw):
            return batch
        source = self._sources[images.stream]
        assert isinstance(source, BatchedImages)
        return source.finish(images.images, images.words), labels

    def teardown(self, stage: str) -> None:
        """Let the workers go."""
        self._lasting.clear()
