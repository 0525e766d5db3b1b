"""Read the split that a benchmark publishes for its searches, image by image.

Source: Dong & Yang, NAS-Bench-201 (ICLR 2020), section 2.2, and the split files of its released code. CIFAR-10 shares
out its training images: `train` and `valid`. CIFAR-100 and ImageNet16-120 train on all their training images and share
out the official test images: the architecture learns from `xvalid`, and `xtest` is what remains to test on.
Left out: the released loader pairs each train image with a random image of the other part, with replacement; here both
parts are passed through in an order of their own, without replacement.
"""

import json
from typing import Any

import numpy as np

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import is_file, path_of
from nas_lightning.data.splits import SearchSplit

FORMS = '{"train": […], "valid": […]} over the training images, or {"xvalid": […], "xtest": […]} over the test images'


def benchmark_split(path: str | None, train_labels: np.ndarray, test_labels: np.ndarray) -> SearchSplit:
    """Read a split file.

    The file is JSON: lists of image numbers from 0 on, plain (`[0, 5]`) or as the released code writes them
    (`["int", ["0", "5"]]`).

    Args:
        path: The file.
        train_labels: [N] the label of each training image.
        test_labels: [M] the label of each official test image.

    Returns:
        Sorted indices into the training images followed by the test images; `held_out` indexes the test images alone.

    Raises:
        DataError: No file is given, it is missing or malformed, or it does not fit the images.
    """
    if path is None:
        raise DataError(
            "data.split_file=null: data.split=benchmark needs the benchmark's list of images; give"
            " data.split_file=FILE.json, or data.split=stratified"
        )
    parts = {name: _indices(path, name, values) for name, values in _read(path).items()}
    labels = np.concatenate([train_labels, test_labels])
    if set(parts) == {"train", "valid"}:
        _check(path, parts, len(train_labels), "training")
        split = SearchSplit(parts["train"], parts["valid"], parts["valid"])
    elif set(parts) == {"xvalid", "xtest"}:
        _check(path, parts, len(test_labels), "test")
        arch = len(train_labels) + parts["xvalid"]
        split = SearchSplit(np.arange(len(train_labels)), arch, arch, held_out=parts["xtest"])
    else:
        raise DataError(f"data.split_file={path}: holds {', '.join(sorted(parts)) or 'nothing'}; expected {FORMS}")
    for name, indices in (("train", split.train), ("arch", split.arch)):
        missing = np.setdiff1d(train_labels, labels[indices])
        if len(missing):
            raise DataError(
                f"data.split_file={path}: no image of class {missing[0]} in the {name} part; give another file"
            )
    return split


def _read(path: str) -> dict[str, Any]:
    file = path_of(path)
    if not is_file(file):
        raise DataError(f"data.split_file={path}: no such file; give data.split_file=FILE.json")
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"data.split_file={path}: not JSON ({' '.join(str(error).split())}); expected {FORMS}"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"data.split_file={path}: holds a {type(content).__name__}; expected {FORMS}")
    return content


def _indices(path: str, name: str, values: Any) -> np.ndarray:
    """Return a list of image numbers, in either form, as a sorted array."""
    if isinstance(values, list) and len(values) == 2 and values[0] == "int":
        values = values[1]
    if not isinstance(values, list) or not values:
        raise DataError(f"data.split_file={path}: {name} is not a list of images; expected {FORMS}")
    try:
        # int() would accept True and cut 0.5 to 0.
        numbers = [int(value) for value in values if not isinstance(value, bool | float)]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"data.split_file={path}: {name} holds a non-integer ({error}); number the images 0, 1, 2, …"
        ) from error
    if len(numbers) < len(values):
        raise DataError(f"data.split_file={path}: {name} holds a non-integer; number the images 0, 1, 2, …")
    return np.array(sorted(numbers), dtype=np.int64)


def _check(path: str, parts: dict[str, np.ndarray], count: int, kind: str) -> None:
    """Refuse numbers that are no image of this kind, or that occur more than once."""
    numbers = np.concatenate(list(parts.values()))
    if numbers.min() < 0 or numbers.max() >= count:
        wrong = numbers.min() if numbers.min() < 0 else numbers.max()
        raise DataError(
            f"data.split_file={path}: names image {wrong}; the {kind} images are 0 to {count - 1}; give the file of"
            " this data set"
        )
    if len(np.unique(numbers)) < len(numbers):
        raise DataError(f"data.split_file={path}: contains duplicates; list every image in one part at most")
