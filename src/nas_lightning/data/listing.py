"""List the image files of folders, and count the files that are not read."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas_lightning.core.errors import DataError
from nas_lightning.core.paths import is_directory, path_of, shown

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"),
)
"""Names of image files end so, in either case; of several frames the first is read."""
JUNK = {
    *("__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
"""What systems and devices leave among photos; some of it holds thumbnails."""


class Listing(NamedTuple):
    """Image files of one part, with their labels.

    Attributes:
        paths: files, sorted by class, then by name.
        labels: [N] int64, positions in `classes`.
        classes: names of the class folders, sorted.
        left_out: number of files that are not read, for each reason.
    """

    paths: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]
    left_out: Counter[str]

    def select(self, indices: np.ndarray) -> "Listing":
        """Return the listing of some of the files."""
        return self._replace(paths=[self.paths[i] for i in indices], labels=self.labels[indices])


class ListedNames(Sequence[str]):
    r"""The place of each listed file below a folder, as text with `/`: made when it is asked for.

    Bytes of a name that are no text are written as `\xff`, so that every name can be stored as UTF-8.

    Args:
        folder: the folder, as it was given for the listing.
        paths: files below it.
    """

    def __init__(self, folder: str, paths: Sequence[str]) -> None:
        self.paths = paths
        self.start = len(str(path_of(folder) / "_")) - 1

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        below = self.paths[index][self.start :].replace(os.sep, "/")
        return below.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def junk(name: str) -> bool:
    """Return whether a file or folder is hidden, such as the ._photo.jpg that macOS leaves behind, or junk."""
    return name.startswith(".") or name.casefold() in JUNK


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without junk.

    Raises:
        DataError: The folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not junk(entry.name))
    except OSError as error:
        raise _unlisted(str(folder), error) from error


def count_words(left_out: Counter[str]) -> str:
    """Return, e.g., `52 left out (50 .heic, 2 .txt)`; nothing if all files are read."""
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    reasons = [f"{count} {reason}" for reason, count in ordered[:5]]
    more = ", …" if len(left_out) > 5 else ""
    return f"{left_out.total()} left out ({', '.join(reasons)}{more})" if left_out else ""


def list_images(
    folder: Path,
    example: str,
    classes: tuple[str, ...] | None = None,
    least: int = 0,
    root: Path | None = None,
    follow_links: bool = False,
) -> Listing:
    """List the image files of each class folder, at any depth.

    Args:
        folder: the parent of the class folders.
        example: a correct override, for the error messages.
        classes: the only names allowed; None: those found, which must be two or more.
        least: images that every class must have.
        root: what links must stay within; None: `folder`.
        follow_links: let links lead anywhere.

    Raises:
        DataError: There is no such folder, no image, an unknown or too small class, or a link out of `root`.
    """
    if not is_directory(folder):
        raise DataError(f"no folder {shown(folder)}; give {example}")
    found = subfolders(folder)
    inside = os.path.realpath(root or folder)
    if not follow_links:
        for path in (folder, *(folder / name for name in found)):
            if path.is_symlink():
                _require_inside(str(path), inside)
    left_out = _loose_files(folder)
    files = {name: sorted(files_below(str(folder / name), inside, follow_links, left_out)) for name in found}
    words = f"; {count_words(left_out)}" if left_out else ""
    if not any(files.values()):
        raise DataError(
            f"no images in class folders of {folder}{words}; give {example}; read are {' '.join(EXTENSIONS)}"
        )
    for name, paths in files.items():
        if classes is not None and name not in classes:
            raise DataError(f"{folder} has a class {name} that the training images lack; give {example}")
        if len(paths) < least:
            raise DataError(
                f"class {name} in {folder} has {len(paths)} image(s), not {least} or more{words}; add some, or remove"
                " the folder"
            )
    if classes is None:
        if len(found) < 2:
            inner = f", or the folder in it: data.path={folder / found[0]}" if subfolders(folder / found[0]) else ""
            raise DataError(f"{folder} has one class only ({found[0]}), not two or more; give {example}{inner}")
        classes = tuple(found)
    paths = [path for name in classes for path in files.get(name, [])]
    labels = np.repeat(np.arange(len(classes)), [len(files.get(name, [])) for name in classes])
    return Listing(paths, labels.astype(np.int64), classes, left_out)


def _loose_files(folder: Path) -> Counter[str]:
    """Count the files beside the class folders, which have no label."""
    left_out: Counter[str] = Counter()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir() and not junk(entry.name):
                reason = _unread(entry)
                left_out["in no class folder" if reason is None else reason] += 1
    return left_out


def files_below(folder: str, root: str, follow_links: bool, left_out: Counter[str]) -> Iterator[str]:
    """Yield image files at any depth, unsorted, and count the others in `left_out`.

    Raises:
        DataError: A link leads out of `root`, or a folder cannot be listed.
    """
    # Strings: Path objects would take minutes for ImageNet's million files.
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise _unlisted(folder, error) from error
    for entry in entries:
        if junk(entry.name):
            continue
        if entry.is_symlink() and not follow_links:
            _require_inside(entry.path, root)
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(entry.path, root, follow_links, left_out)
            continue
        reason = _unread(entry)
        if reason is None:
            yield entry.path
        else:
            left_out[reason] += 1


def _unread(entry: os.DirEntry[str]) -> str | None:
    """Return why a file is not read; None for an image. What is no file is never opened: a pipe would block."""
    if not entry.is_file():
        if entry.is_dir():
            return "linked folder"
        return "broken link" if entry.is_symlink() and not Path(entry.path).exists() else "pipe, socket or device"
    _, dot, extension = entry.name.lower().rpartition(".")
    return None if dot + extension in EXTENSIONS else (dot and dot + extension) or "without extension"


def _unlisted(folder: str, error: OSError) -> DataError:
    return DataError(f"the folder {folder} cannot be listed ({error.strerror}); make it readable, or move it away")


def _require_inside(path: str, root: str) -> None:
    """Refuse a link out of the folder that the user named, since its images could be anybody's.

    Raises:
        DataError: `path` leads out of `root`.
    """
    target = os.path.realpath(path)
    if os.path.commonpath([target, root]) != root:
        raise DataError(
            f"{path} is a link to {target}, outside of {root}; copy it there, or trust the links with"
            " data.follow_links=true"
        )
