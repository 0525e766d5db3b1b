"""Read many image files at once, and learn from a sample of them what size and what scale they have."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from nas_lightning.core.errors import DataError, in_one_line
from nas_lightning.data import pixels
from nas_lightning.data.preprocessing import open_image

T = TypeVar("T")

SAMPLE = 1000
"""Images sampled to choose a size and a scale, and to measure mean and deviation."""


def attempt(read: Callable[[str], T], paths: Sequence[str], keep: bool = True) -> list[T | DataError | None]:
    """Read files in parallel, and return what `read` returns or raises for each.

    Threads suffice, since PIL releases the interpreter lock while it decodes.

    Args:
        read: reads one file.
        paths: the files.
        keep: false returns None for a file that can be read.
    """

    def one(path: str) -> T | DataError | None:
        try:
            found = read(path)
        except DataError as error:
            return error
        return found if keep else None

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, paths))


def name_broken(broken: Sequence[tuple[str, DataError]], total: int) -> str:
    """Return how many files cannot be used, and the first few of them with the reasons."""
    reasons = ((path, in_one_line(error.__cause__ or error)) for path, error in broken[:3])
    named = [f"{path} ({reason.replace(f' {path!r}', '')})" for path, reason in reasons]  # PIL repeats the path
    more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    return f"{len(broken)} of {total} images: {', '.join(named)}{more}"


def sample(paths: Sequence[str], most: int = SAMPLE) -> list[int]:
    """Return the indices of up to `most` files, evenly spaced."""
    indices: list[int] = np.unique(np.linspace(0, len(paths) - 1, most).astype(int)).tolist() if paths else []
    return indices


def typical_size(paths: Sequence[str], largest: int = 224) -> int:
    """Return the median of the shorter sides, rounded down to a multiple of 8, within 16 to `largest` pixels.

    Raises:
        DataError: No file can be read.
    """

    def shorter(path: str) -> int:
        with open_image(path) as image:  # reads the header only
            return min(image.size)

    found = attempt(shorter, paths)
    sides = [side for side in found if isinstance(side, int)]
    if not sides:
        raise next(error for error in found if isinstance(error, DataError))
    return int(np.clip(np.median(sides) // 8 * 8, min(16, largest), largest))


def white_level(paths: Sequence[str]) -> float | None:
    """Return the value of white in files whose pixels have more than 8 bits; None if there is no such file.

    It is the same for all of them, so that a dark photo stays darker than a light one.

    Raises:
        DataError: Some hold integers and some real numbers.
    """

    def largest(path: str) -> tuple[bool, float, str] | None:
        with open_image(path) as image:
            return (image.mode == "F", pixels.deep_range(image)[1], path) if pixels.is_deep(image) else None

    found = [level for level in attempt(largest, paths) if isinstance(level, tuple)]
    if not found:
        return None
    kinds = {real: path for real, _, path in found}
    if len(kinds) > 1:
        raise DataError(
            f"{kinds[False]} holds integers of more than 8 bits and {kinds[True]} real numbers, which have no common"
            " scale; save them in one format"
        )
    return pixels.fitting_white(max(value for _, value, _ in found), found[0][0])
