"""The Lightning data modules of a search and of an evaluation on point clouds.

They are those of images: clouds are split, ordered and augmented by the same keys. A batch is (clouds [B, 3, N], labels
[B]).
"""

from typing import Literal

from nas_lightning.data.module import Count, EvaluationData, Fraction, Positive, SearchData
from nas_lightning.data.points import PointData
from nas_lightning.data.splits import SplitMethod

PointSplit = Literal["stratified", "halves_by_order", "whole"]


class PointSearchData(SearchData):
    """The clouds of a search: `train` and `arch` to train on, and `val`; see `SearchData`.

    Args:
        data: where the clouds come from.
        batch_size: clouds of either stream in a step, in each process.
        seed: of the run; decides the order and the augmentation, not the split.
        num_workers: processes that load clouds; 0 loads in the training process.
        split: `stratified`, `halves_by_order` or `whole`.
        val_fraction: share of the training clouds set aside for val; 0: val is the arch half.
        augment_val: whether the arch half, when it serves as val, is augmented; clouds set aside never are.
        prefetch_factor: batches that each of the processes prepares ahead.
    """

    def __init__(
        self,
        data: PointData,
        batch_size: Positive,
        seed: int,
        num_workers: Count = 0,
        split: PointSplit = "stratified",
        val_fraction: Fraction = 0.0,
        augment_val: bool = True,
        prefetch_factor: Positive = 4,
    ) -> None:
        method: SplitMethod = split
        super().__init__(
            data,  # type: ignore[arg-type]
            batch_size,
            seed,
            num_workers,
            method,
            val_fraction,
            augment_val,
            prefetch_factor=prefetch_factor,
            augment_on="loader",
        )


class PointEvaluationData(EvaluationData):
    """The clouds on which a found network is trained from scratch; see `EvaluationData`.

    Args:
        data: where the clouds come from.
        batch_size: clouds in a step, in each process.
        seed: of the run; decides the order and the augmentation.
        num_workers: processes that load clouds; 0 loads in the training process.
        images: `full` trains on all training clouds and tests on the test part. `search_halves`, for choosing among
            candidates, trains on the train half of the search and tests on its val part, not augmented.
        split: as for the search, used by `search_halves`.
        val_fraction: likewise.
        prefetch_factor: likewise.
    """

    def __init__(
        self,
        data: PointData,
        batch_size: Positive,
        seed: int,
        num_workers: Count = 0,
        images: Literal["full", "search_halves"] = "full",
        split: PointSplit = "stratified",
        val_fraction: Fraction = 0.0,
        prefetch_factor: Positive = 4,
    ) -> None:
        super().__init__(
            data,  # type: ignore[arg-type]
            batch_size,
            seed,
            num_workers,
            images=images,
            split=split,
            val_fraction=val_fraction,
            prefetch_factor=prefetch_factor,
            augment_on="loader",
        )
