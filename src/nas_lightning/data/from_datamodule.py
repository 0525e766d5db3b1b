"""Adapt a user's own LightningDataModule to a source of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset
from torchvision.transforms import v2

from nas_lightning.core.errors import DataError
from nas_lightning.data.base import ImageData, LabelledImages, Part
from nas_lightning.data.keyed import preserved_rng, seed_all
from nas_lightning.data.policies import Policy
from nas_lightning.data.splits import SPLIT_SEED

Item = tuple[Tensor, int]


def from_datamodule(module: LightningDataModule) -> ImageData:
    """Adapt a user's own LightningDataModule to search and evaluation.

    It uses the datasets of the module's `train_dataloader()` and `test_dataloader()`, but not its batch sizes,
    shuffling and samplers. Items must be (image, label) with a square float tensor [C, H, W], normalised as the
    user likes. The transforms of the user's datasets always apply: `augment` cannot switch them off, and
    cutout comes on top. Labels are read from `targets`, `labels` or `tensors[1]`, else by one pass through
    the dataset; the number of classes is the module's `num_classes`, else one more than the highest label.
    """
    return _DataModuleImages(module)


class _DataModuleImages(ImageData):
    """Images of the datasets behind a data module's loaders, with the user's own transforms."""

    def __init__(self, module: LightningDataModule) -> None:
        self.module = module
        self.name = type(module).__name__

    def dataset(self, part: Part, augment: bool, cutout: int = 0, policy: Policy = "standard") -> Dataset[Item]:
        if policy != "standard":
            raise self._error(
                f"has transforms of its own, so evaluation.augment={policy} does not apply",
                "use evaluation.augment=standard",
            )
        self.prepare()
        labels = self.train_labels if part == "train" else self.test_labels
        return LabelledImages(self._images[part], labels, v2.Compose([torch.Tensor.float, *self._cutout(cutout)]))

    def levels(self, part: Part, indices: Sequence[int]) -> list[float]:
        """Return nothing: the user's transforms may be random."""
        return []

    def preprocessing(self) -> None:
        """Return None: the transforms are the user's own."""
        return

    def _load(self) -> None:
        # A random_split in the user's setup must neither depend on the run's seed nor disturb its draws.
        with preserved_rng():
            seed_all(SPLIT_SEED)
            self.module.prepare_data()
            self.module.setup("fit")
            self.module.setup("test")
            train, test = self._part("train"), self._part("test")
            self.train_labels, self.test_labels = self._labels(train), self._labels(test)
            image = train[0][0]

        if not (isinstance(image, Tensor) and image.is_floating_point() and image.ndim == 3):
            raise self._error(f"gives {_describe(image)} as image, not a float tensor [C, H, W]", "add ToTensor()")
        self.in_channels, self.image_size, width = image.shape
        if width != self.image_size:
            raise self._error(f"gives images of {self.image_size}x{width} pixels", "resize them to squares")
        highest = int(max(self.train_labels.max(), self.test_labels.max()))
        self.num_classes = getattr(self.module, "num_classes", None) or highest + 1
        if highest >= self.num_classes or min(self.train_labels.min(), self.test_labels.min()) < 0:
            raise self._error(
                f"gives labels from {min(self.train_labels.min(), self.test_labels.min())} to {highest} "
                f"for {self.num_classes} classes",
                f"give 0 to {self.num_classes - 1}",
            )
        names = getattr(self.module, "class_names", None) or map(str, range(self.num_classes))
        self.class_names = tuple(names)
        self._images = {"train": _Column(train), "test": _Column(test)}

    def _part(self, part: Part) -> Any:
        """Return the dataset behind one of the user's loaders.

        Raises:
            DataError: There is no such loader, or its dataset has no length.
        """
        try:
            loader = getattr(self.module, f"{part}_dataloader")()
        except MisconfigurationException as error:  # raised by Lightning's placeholder
            raise self._error(f"has no {part}_dataloader()", "define it; no other loader stands in for it") from error
        dataset = getattr(loader, "dataset", None)
        if dataset is None or isinstance(dataset, IterableDataset) or not len(dataset):
            raise self._error(
                f"returns {_describe(loader)} from {part}_dataloader()",
                "return one DataLoader of a dataset that has a length",
            )
        return dataset

    def _labels(self, dataset: Any) -> np.ndarray:
        labels = _stored_labels(dataset)
        # Compare with one item: a dataset may alter labels on the way out. If they differ, read every item.
        try:
            if labels is None or labels.shape != (len(dataset),) or labels[0] != int(dataset[0][1]):
                labels = np.array([int(dataset[index][1]) for index in range(len(dataset))])
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            raise self._error(f"gives {_describe(dataset[0])} as item", "give (image, label)") from error
        return labels.astype(np.int64)

    def _error(self, problem: str, remedy: str) -> DataError:
        return DataError(f"data._target_ {self.name} {problem}; {remedy}, or choose other data, e.g. data=digits")


class _Column(Sequence[Any]):
    """The images alone of a dataset whose items are (image, label)."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[index][0]


def _stored_labels(dataset: Any) -> np.ndarray | None:
    """Return the labels that a dataset keeps in the usual places; None if its items may differ from them."""
    if isinstance(dataset, Subset):
        labels = _stored_labels(dataset.dataset)
        return None if labels is None else labels[np.asarray(dataset.indices)]
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for name in ("targets", "labels"):
        if hasattr(dataset, name):
            return np.asarray(getattr(dataset, name))
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) > 1:
        return np.asarray(dataset.tensors[1])
    return None


def _describe(thing: Any) -> str:
    if isinstance(thing, Tensor):
        return f"a {thing.dtype} tensor of shape {list(thing.shape)}"
    return f"a {type(thing).__name__}"
