"""Lists of the images of a search: what a run that draws subsets writes, and what a later search reads back.

The file is a CSV table with a row an image: `part` (train, arch or val), `label` (name of its class) and `image` (its
place below the folder of the data, or its number where images have no names). It stands below the room of run folders,
which takes the name of the file from here.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import is_file, path_of

FILE = "split.csv"
COLUMNS = ("part", "label", "image")
PARTS = ("train", "arch", "val")
"""Parts of a search; val only where it has images of its own."""


class ListedImage(NamedTuple):
    """One image of a search.

    Attributes:
        part: `train`, `arch` or `val`.
        label: name of its class.
        image: its place below the folder of the data, with `/`, or its number.
    """

    part: str
    label: str
    image: str


def read_list(path: str | Path, key: str = "data.search_split") -> list[ListedImage]:
    """Read such a file.

    Args:
        path: The file.
        key: Key of the configuration that names it, for messages.

    Raises:
        DataError: It is missing or no such table, names an image twice, or lacks the images of train or of arch.
    """
    file = path_of(str(path))
    given = f"{key}={path}"
    if not is_file(file):
        raise DataError(f"{given}: no such file; give the {FILE} of another run, {key}=FOLDER/{FILE}")
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, strict=True))
        found = [ListedImage(*(row[column] for column in COLUMNS)) for row in rows]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(
            f"{given}: is no table with the columns {', '.join(COLUMNS)}; give the {FILE} of a run"
        ) from error
    _check(found, given)
    return found


def _check(found: Sequence[ListedImage], given: str) -> None:
    for row in found:
        if row.part not in PARTS or None in row:  # csv fills short rows with None
            raise DataError(f"{given}: part {row.part} of image {row.image} is unknown; allowed: {', '.join(PARTS)}")
    for part in PARTS[:2]:
        if not any(row.part == part for row in found):
            raise DataError(f"{given}: has no image of part {part}; every search needs train and arch")
    seen: set[str] = set()
    for row in found:
        if row.image in seen:
            raise DataError(f"{given}: names the image {row.image} twice; list every image in one part at most")
        seen.add(row.image)
