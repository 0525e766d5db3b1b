"""Subsets of the training images that a search learns from, where all of them would be too many.

Source: Xu et al., PC-DARTS (ICLR 2020), section 4.3, and Chen et al., DrNAS (ICLR 2021), section 4.2: searches on
ImageNet draw 10 % of the images of each class for the weights and 2.5 % for the architecture. Both released codes read
the two subsets from folders that somebody copied before; here they are drawn by a key, and listed in the run folder.
"""

from collections.abc import Sequence

import numpy as np

from nas_lightning.core.errors import DataError
from nas_lightning.core.split_lists import PARTS, ListedImage, read_list
from nas_lightning.data.base import ImageData
from nas_lightning.data.splits import SearchSplit


def check_subsets(
    fractions: Sequence[float] | None, seed: int, listed: str | None, split: str, val_fraction: float
) -> None:
    """Refuse keys that contradict each other.

    Args:
        fractions: `data.search_fractions`.
        seed: `data.search_seed`.
        listed: `data.search_split`, which replaces fractions.
        split: `data.split`.
        val_fraction: `data.val_fraction`.

    Raises:
        DataError: They do, or the shares are none.
    """
    if listed is not None:
        if split == "benchmark":
            raise DataError(
                f"data.search_split={listed}: data.split=benchmark reads data.split_file; use data.split=stratified, or"
                " data.search_split=null"
            )
        if val_fraction:
            raise DataError(
                f"data.val_fraction={val_fraction}: data.search_split={listed} fixes the parts itself; use"
                " data.val_fraction=0"
            )
        return
    if fractions is None:
        if seed:
            raise DataError(
                f"data.search_seed={seed}: only data.search_fractions are drawn by it, and they are null; use"
                " data.search_seed=0, or data.search_fractions=[0.1,0.025]"
            )
        return
    given = f"data.search_fractions=[{','.join(f'{share:g}' for share in fractions)}]"
    if len(fractions) != 2 or not all(0 < share <= 1 for share in fractions):
        raise DataError(
            f"{given}: two shares are needed, of the weights and of the architecture, each above 0 to 1; e.g."
            " data.search_fractions=[0.1,0.025]"
        )
    if sum(fractions) + val_fraction > 1 + 1e-9:
        aside = f" and data.val_fraction={val_fraction:g}" if val_fraction else ""
        raise DataError(
            f"{given}{aside}: together more than all images; at most 1 in all, e.g. data.search_fractions=[0.1,0.025]"
        )
    if split != "stratified":
        raise DataError(
            f"{given}: are drawn class by class, not by data.split={split}; use data.split=stratified, or"
            " data.search_fractions=null"
        )


def drawn_subsets(
    labels: np.ndarray, fractions: Sequence[float], val_fraction: float = 0.0, seed: int = 0
) -> SearchSplit:
    """Draw a share of the images of each class for every part; the others are not looked at.

    Each class gets the integer part of its share, at least one image: classes of one size have equally many. What is
    drawn of a class depends on the seed, the class and its number of images only, and a larger share of the weights
    contains a smaller one.

    Args:
        labels: [N] the label of each training image.
        fractions: share of train and share of arch, of all images.
        val_fraction: share of all images set aside for val; 0: val is arch.
        seed: of the draw.

    Returns:
        Sorted indices into the training images; no image is in two parts.

    Raises:
        DataError: A class has too few images for one in every part.
    """
    labels = np.asarray(labels)
    shares = (*fractions, val_fraction) if val_fraction else tuple(fractions)
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label in np.unique(labels):
        images = np.flatnonzero(labels == label)
        sizes = [max(1, int(len(images) * share + 1e-9)) for share in shares]
        if sum(sizes) > len(images):
            raise DataError(
                f"class {label} has {len(images)} training image(s), data.search_fractions need {sum(sizes)} or more of"
                " each; add images or drop the class"
            )
        drawn = np.random.default_rng((seed, int(label))).permutation(images)
        ends = np.cumsum([0, *sizes])
        for part, start, end in zip(parts, ends, ends[1:], strict=False):
            part.append(drawn[start:end])
    train, arch, *val = (np.sort(np.concatenate(part)).astype(np.int64) for part in parts)
    return SearchSplit(train, arch, val[0] if val else arch)


def listed_subsets(path: str, data: ImageData) -> SearchSplit:
    """Read the images of every part from a list, see `core.split_lists`.

    Args:
        path: The file.
        data: The prepared images.

    Returns:
        Sorted indices into the training images; val is arch where the list has no val.

    Raises:
        DataError: The list cannot be read, or it does not fit the images: some are missing or of another class, or a
            part lacks a class.
    """
    rows = read_list(path)
    found = data.find_images([row.image for row in rows], [row.label for row in rows], f"data.search_split={path}")
    parts = np.array([PARTS.index(row.part) for row in rows])
    train, arch, val = (np.sort(found[parts == number]) for number in range(len(PARTS)))
    split = SearchSplit(train, arch, val if len(val) else arch)
    listed = {part: {row.label for row in rows if row.part == part} for part in dict.fromkeys(row.part for row in rows)}
    for part, labels in listed.items():
        if len(labels) < data.num_classes:
            missing = next(name for name in map(str, data.class_names) if name not in labels)
            raise DataError(
                f"data.search_split={path}: no image of class {missing} in the {part} part; give another file"
            )
    return split


def rows_of(split: SearchSplit, data: ImageData) -> list[ListedImage]:
    """Return the list of the images of a split, part by part, each in index order."""
    own_val = split.val is not split.arch
    parts = [split.train, split.arch, *([split.val] if own_val else [])]
    names = data.image_names()
    return [
        ListedImage(part, str(data.class_names[data.train_labels[index]]), names[index])
        for part, indices in zip(PARTS, parts, strict=False)
        for index in indices.tolist()
    ]
