"""Recognise the parts of a data set, training and test, by the names of its folders."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nas_lightning.core.errors import DataError
from nas_lightning.data.listing import subfolders

NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation"),
}
"""Names of folders, in any capitals, that hold a part and are not a class."""
_KINDS = {name: kind for kind, names in NAMES.items() for name in names}


class Parts(NamedTuple):
    """Folders of the parts.

    Attributes:
        train: the training images.
        test: the images to test on.
        unused: names of further parts, which are not read.
    """

    train: Path
    test: Path
    unused: tuple[str, ...]


def find_parts(root: Path) -> Parts | None:
    """Return the parts of a folder; None if its folders are classes.

    The test part is `test`, or `val` if there is no `test` with class folders. One folder of such a name beside others
    is a class, as long as it holds no folders itself.

    Raises:
        DataError: The names can be read in two ways, or a part is missing.
    """
    found = subfolders(root)
    kinds = {name: _KINDS[name.casefold().strip()] for name in found if name.casefold().strip() in _KINDS}
    alike = {name: kind for name in found if name not in kinds and (kind := _resembles(name))}
    others = [name for name in found if name not in kinds]
    nested = [name for name in kinds if subfolders(root / name)]

    def refuse(problem: str, remedy: str) -> DataError:
        return DataError(
            f"data.path={root}: {problem}; {remedy}, or, if its folders are the classes, give data.split_folders=false"
        )

    if others:
        if kinds and (nested or _both(kinds.values())):
            raise refuse(f"holds {_words(kinds)} beside {_words(others)}", "move what is no part away")
        if _both([*kinds.values(), *alike.values()]):
            likely = sorted([*kinds, *alike])
            raise refuse(f"{_words(likely)} look like parts", "name them train and test")
        for name in others:
            inner = [_KINDS[part.casefold()] for part in subfolders(root / name) if part.casefold() in _KINDS]
            if _both(inner):
                raise refuse(
                    f"the class {name} is divided into parts", "give FOLDER/train/<class> and FOLDER/test/<class>"
                )
        return None
    if not kinds:
        return None
    if not nested:
        raise refuse(f"{_words(kinds)} have no class folders", "give FOLDER/train/<class>/*.jpg")
    if len(set(kinds.values())) < len(kinds):
        raise refuse(f"several of {_words(kinds)} are the same part", "keep one of them")
    folders = {kind: root / name for name, kind in kinds.items()}
    train = folders.pop("train", None)
    if train is None or train.name not in nested:
        raise refuse(f"holds {_words(kinds)}, but no class folders to train on", "add FOLDER/train/<class>/*.jpg")
    labelled = {kind: folder for kind, folder in folders.items() if folder.name in nested}
    held_out = labelled.get("test") or labelled.get("val")
    if held_out is None:
        raise refuse(
            f"holds {_words(kinds)}, but no class folders to test on",
            f"take the test images from {train.name} with data.path={train}",
        )
    unused = tuple(folder.name for folder in folders.values() if folder != held_out)
    return Parts(train, held_out, unused)


def _resembles(name: str) -> str | None:
    """Return the part that a word of a name names, as in `seg_train`, `testSet` or `val2017`."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return next((_KINDS[word.lower()] for word in words if word.lower() in _KINDS), None)


def _both(kinds: Iterable[str]) -> bool:
    """Return whether there is a part to train on and one to test on."""
    found = set(kinds)
    return "train" in found and len(found) > 1


def _words(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:4]) + (", …" if len(listed) > 4 else "")
