"""Atomic files: a kill, a full disk or a power cut leaves the old content or the new one, never a part."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` once all of it is on the disk.

    Args:
        path: The file that is replaced or created.

    Raises:
        OSError: It cannot be written; the old file is untouched, and the temporary one is removed.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk needs the space
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with replacing(path) as file:
        file.write(text.encode())


def copy_file(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    with source.open("rb") as old, replacing(target) as new:
        while block := old.read(2**24):
            new.write(block)


def append(path: Path, text: str) -> None:
    """Append text to a file and sync it to the disk."""
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def whole_lines(path: Path) -> list[str]:
    """Return the complete lines of a file, without the partial last line that a kill or a full disk can leave."""
    with path.open(encoding="utf-8", newline="") as file:
        return [line for line in file if line.endswith("\n")]


def sync_folder(path: Path) -> None:
    """Sync the directory entries of a folder, without which a rename may not survive a power cut."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(handle)
    except OSError:  # some network drives cannot sync folders; the rename itself has happened
        pass
    finally:
        os.close(handle)
