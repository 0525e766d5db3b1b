"""Split the training images between the weights, the architecture and validation."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from nas_lightning.core.errors import DataError

SplitMethod = Literal["halves_by_order", "stratified", "benchmark", "whole"]

SPLIT_SEED = 0
"""One constant for all splits: runs with different seeds must differ in their draws, not in their images."""


@dataclass(frozen=True)
class SearchSplit:
    """Sorted indices (int64) into the training part, or into the training part followed by the test part.

    Attributes:
        train: the images that the weights learn from.
        arch: the images that the architecture learns from.
        val: the images that are only validated on; the arch images themselves if no others were set aside.
        held_out: where a benchmark lets the architecture learn from test images: those of the test part (counted from
            its first) that remain to test on. None: arch and val are training images, all test images remain.
    """

    train: np.ndarray
    arch: np.ndarray
    val: np.ndarray
    held_out: np.ndarray | None = None


def search_split(
    labels: np.ndarray,
    method: SplitMethod,
    train_portion: float = 0.5,
    val_fraction: float = 0.0,
    seed: int = SPLIT_SEED,
) -> SearchSplit:
    """Split the training images for a search.

    Args:
        labels: [N] the label of each training image.
        method: `halves_by_order` gives the first images to train and the next ones to arch, as the DARTS code
            does; `stratified` draws each class in proportion; `whole` gives all images to both, for searches on one
            level. For `benchmark` see `benchmark_split`.
        train_portion: of the images that are not set aside, the share of train; the rest is arch.
        val_fraction: share of all images set aside for val, from the end or else stratified; 0: val is arch.
        seed: of the stratified draw.

    Raises:
        DataError: The method is unknown, a share is out of range, or a part would lack a class.
    """
    labels = np.asarray(labels)
    if method not in get_args(SplitMethod):
        raise DataError(f"data.split={method} is unknown; allowed: {', '.join(get_args(SplitMethod))}")
    assert method != "benchmark"  # it reads a file
    if not 0 <= val_fraction < 1:
        raise DataError(f"data.val_fraction={val_fraction} is not a share; allowed: 0 to below 1, e.g. 0.1")
    if not 0 < train_portion < 1:
        raise DataError(f"train_portion={train_portion} is not a share; allowed: above 0 to below 1, e.g. 0.5")

    if method != "halves_by_order":
        _require_images(labels, 3 if val_fraction else 2)
        val, rest = np.array([], dtype=np.int64), np.arange(len(labels))
        if val_fraction:
            val, rest = stratified_cut(labels, rest, val_fraction, seed)
        train, arch = (rest, rest) if method == "whole" else stratified_cut(labels, rest, train_portion, seed)
    else:
        rest, val = np.split(np.arange(len(labels)), [len(labels) - _share(len(labels), val_fraction)])
        train, arch = np.split(rest, [_share(len(rest), train_portion)])

    split = SearchSplit(train, arch, val if val_fraction else arch)
    for part, indices in (("train", split.train), ("arch", split.arch), ("val", split.val)):
        missing = np.setdiff1d(labels, labels[indices])
        if len(missing):
            raise DataError(
                f"data.split={method} leaves no image of class {missing[0]} to the {part} part; "
                "every part needs every class, e.g. with data.split=stratified"
            )
    return split


def stratified_cut(
    labels: np.ndarray, indices: np.ndarray, portion: float, seed: int = SPLIT_SEED
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a portion of the indices, class by class, with at least one image of a class on either side.

    Rounding is carried from class to class, so that the whole has the right size as well.

    Args:
        labels: [N] the label of each image.
        indices: those to divide, with two or more of each class.
        portion: share of the first part.
        seed: of the draw.

    Returns:
        The indices drawn and the others, both sorted.
    """
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels[indices], return_counts=True)
    # Sizes are differences of rounded cumulative counts, clipped so that both sides keep an image of every class.
    ends = np.array([_share(count, portion) for count in np.cumsum(counts)])
    sizes = np.clip(np.diff(ends, prepend=0), 1, counts - 1)
    drawn = [
        rng.permutation(indices[labels[indices] == label])[:size] for label, size in zip(classes, sizes, strict=True)
    ]
    first = np.sort(np.concatenate(drawn))
    return first, np.setdiff1d(indices, first)


def _share(count: int, portion: float) -> int:
    """Return the integer part of count * portion; the small term keeps 0.29 * 100 from becoming 28."""
    return int(count * portion + 1e-9)


def _require_images(labels: np.ndarray, needed: int) -> None:
    """Refuse a class that has too few images for one in every part."""
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < needed:
        label = classes[counts.argmin()]
        raise DataError(
            f"class {label} has {counts.min()} training image(s), a search needs {needed} or more of each; "
            + ("give data.val_fraction=0, which needs 2" if needed == 3 else "add images or drop the class")
        )
