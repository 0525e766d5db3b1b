"""Base of the data modules of what is loaded item by item: point clouds, stereo pairs, graphs.

They are those of images: items are split, ordered and augmented by the same keys, in the loader.
"""

from typing import Any, Literal

from nas_lightning.data.module import Count, EvaluationData, Fraction, Positive, SearchData
from nas_lightning.data.splits import SplitMethod

ItemSplit = SplitMethod | Literal["published"]
"""Splits of a search; the data say which of them they have."""


class ItemSearchData(SearchData):
    """The items of a search: `train` and `arch` to train on, and `val`; see `SearchData`.

    Args:
        data: where the items come from.
        batch_size: items of either stream in a step, in each process.
        seed: of the run; decides the order and the augmentation, not the split.
        num_workers: processes that load items; 0 loads in the training process.
        split: one of those that the data have.
        val_fraction: share of the training items set aside for val; 0: val is the arch half.
        augment_val: whether the arch half, when it serves as val, is augmented; items set aside never are.
        prefetch_factor: batches that each of the processes prepares ahead.
    """

    def __init__(
        self,
        data: Any,
        batch_size: Positive,
        seed: int,
        num_workers: Count = 0,
        split: ItemSplit = "stratified",
        val_fraction: Fraction = 0.0,
        augment_val: bool = True,
        prefetch_factor: Positive = 4,
    ) -> None:
        super().__init__(
            data,
            batch_size,
            seed,
            num_workers,
            split,  # type: ignore[arg-type] # a subclass knows the others
            val_fraction,
            augment_val,
            prefetch_factor=prefetch_factor,
            augment_on="loader",
        )


class ItemEvaluationData(EvaluationData):
    """The items on which a found network is trained from scratch; see `EvaluationData`.

    Args:
        data: where the items come from.
        batch_size: items in a step, in each process.
        seed: of the run; decides the order and the augmentation.
        num_workers: processes that load items; 0 loads in the training process.
        images: `full` trains on all training items and tests on the test part. `search_halves`, for choosing among
            candidates, trains on the train half of the search and tests on its val part, not augmented.
        split: as for the search, used by `search_halves`.
        val_fraction: likewise.
        prefetch_factor: likewise.
    """

    def __init__(
        self,
        data: Any,
        batch_size: Positive,
        seed: int,
        num_workers: Count = 0,
        images: Literal["full", "search_halves"] = "full",
        split: ItemSplit = "stratified",
        val_fraction: Fraction = 0.0,
        prefetch_factor: Positive = 4,
    ) -> None:
        super().__init__(
            data,
            batch_size,
            seed,
            num_workers,
            images=images,
            split=split,  # type: ignore[arg-type] # likewise
            val_fraction=val_fraction,
            prefetch_factor=prefetch_factor,
            augment_on="loader",
        )
