"""Paths that a user typed: any text is a path that does not exist, never a fault."""

import os
from pathlib import Path

LFS = "version https://git-lfs.github.com/spec/"
"""Beginning of the file that Git LFS leaves in the place of another."""


def path_of(text: str | Path) -> Path:
    """Return the path of a text, `~` and `~user` replaced where there is such a user."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises where there is no such user


def exists(path: str | Path) -> bool:
    """Return True if there is such a file or folder; False also for texts that are too long for a path."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises for a text that is too long


def is_file(path: str | Path) -> bool:
    """Return True if there is such a file; see `exists`."""
    return os.path.isfile(path)  # noqa: PTH113


def is_directory(path: str | Path) -> bool:
    """Return True if there is such a folder; see `exists`."""
    return os.path.isdir(path)  # noqa: PTH112


def shown(text: object, longest: int = 80) -> str:
    """Return a text in one line for a message, its middle left out where it is long."""
    line = " ".join(str(text).split())
    half = (longest - 1) // 2
    return line if len(line) <= longest else f"{line[:half]}…{line[-half:]}"


def lfs_pointer(content: str | bytes) -> str:
    """Return what to do about the beginning of a file that Git LFS left in the place of another; "" if it is none."""
    start = content[: len(LFS)]
    if (start if isinstance(start, str) else start.decode("ascii", "replace")) != LFS:
        return ""
    return "is a pointer of Git LFS, not the file itself; fetch it with git lfs pull"
