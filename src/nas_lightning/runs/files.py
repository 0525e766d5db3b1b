"""Files that are whole or not there: a kill, a full disk or a power cut leaves the old content or the new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside another and put it in its place once all of it is on the disk.

    Args:
        path: The file that is replaced, or made.

    Raises:
        OSError: It cannot be written; what was there is untouched, and the half file is gone.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a disk that is full needs the room
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a file by a text in one step."""
    with replacing(path) as file:
        file.write(text.encode())


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    with source.open("rb") as old, replacing(target) as new:
        while block := old.read(2**24):
            new.write(block)


def append(path: Path, text: str) -> None:
    """Add text to a file, on the disk when this returns."""
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def whole_lines(path: Path) -> list[str]:
    """Lines that were written to their end: a kill or a full disk can leave half of the last one."""
    with path.open(encoding="utf-8", newline="") as file:
        return [line for line in file if line.endswith("\n")]


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk, not only what is in the files."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:  # some network drives cannot; the names are there, only perhaps not after a power cut
        pass
    finally:
        os.close(handle)
