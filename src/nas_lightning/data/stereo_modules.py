"""The Lightning data modules of a search and of an evaluation on pairs of images.

They are those of images: pairs are split, ordered and augmented by the same keys. A batch is (pairs [B, 2·C, H, W],
disparities [B, 1, H, W]), NaN where a disparity is not known.
"""

from typing import Literal

from nas_lightning.data.module import Count, EvaluationData, Fraction, Positive, SearchData
from nas_lightning.data.splits import SplitMethod
from nas_lightning.data.stereo import StereoData

StereoSplit = Literal["stratified", "halves_by_order"]


class StereoSearchData(SearchData):
    """The pairs of a search: `train` and `arch` to train on, and `val`; see `SearchData`.

    Args:
        data: where the pairs come from.
        batch_size: pairs of either stream in a step, in each process.
        seed: of the run; decides the order and the augmentation, not the split.
        num_workers: processes that load pairs; 0 loads in the training process.
        split: `stratified` (at random, there is one class) or `halves_by_order`.
        val_fraction: share of the training pairs set aside for val; 0: val is the arch half.
        augment_val: whether the arch half, when it serves as val, is augmented; pairs set aside never are.
        prefetch_factor: batches that each of the processes prepares ahead.
    """

    def __init__(
        self,
        data: StereoData,
        batch_size: Positive,
        seed: int,
        num_workers: Count = 0,
        split: StereoSplit = "stratified",
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


class StereoEvaluationData(EvaluationData):
    """The pairs on which a found network is trained from scratch; see `EvaluationData`.

    Args:
        data: where the pairs come from.
        batch_size: pairs in a step, in each process.
        seed: of the run; decides the order and the augmentation.
        num_workers: processes that load pairs; 0 loads in the training process.
        images: `full` trains on all training pairs and tests on the test part. `search_halves`, for choosing among
            candidates, trains on the train half of the search and tests on its val part, not augmented.
        split: as for the search, used by `search_halves`.
        val_fraction: likewise.
        prefetch_factor: likewise.
    """

    def __init__(
        self,
        data: StereoData,
        batch_size: Positive,
        seed: int,
        num_workers: Count = 0,
        images: Literal["full", "search_halves"] = "full",
        split: StereoSplit = "stratified",
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
