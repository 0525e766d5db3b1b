"""Machine failures: reported in one line that names the command to resume with."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed import DistError

from nas_lightning.core import ranks
from nas_lightning.core.errors import DataError, MachineError
from nas_lightning.runs.folder import RunFolder

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors for lack of space: a full disk, an exhausted quota, or the largest file size."""


@contextmanager
def reporting_failures(folder: RunFolder) -> Iterator[None]:
    """Turn failures of the disk, the folder, the images and other ranks into an error of one line.

    Args:
        folder: The run folder, which can be resumed after such a failure.

    Raises:
        MachineError: Such a failure.
    """
    try:
        yield
    except DataError as error:
        line = f"{_last_line(error)}; put the images back as they were, then continue with resume={folder}"
        raise MachineError(line) from error
    except RuntimeError as error:
        # Gloo raises a plain RuntimeError when a peer is gone; only its text distinguishes it from a bug.
        if ranks.count() == 1 or (not isinstance(error, DistError) and "gloo" not in str(error)):
            raise
        raise MachineError(
            f"another process of the run ended or cannot be reached; see run.log and run.rank1.log, then continue with"
            f" resume={folder}"
        ) from error
    except OSError as error:
        if error.errno in FULL:
            problem = f"{folder} cannot be written, no space is left ({error.strerror}): free some"
        elif _lies_in(error.filename, folder):
            problem = f"{error.filename} cannot be written or read ({error.strerror}): fix that"
        else:
            problem = f"{type(error).__name__}: {_last_line(error)}: fix that"
        raise MachineError(f"{problem}, then continue with resume={folder}") from error


def _last_line(error: Exception) -> str:
    """Return the message of an error; the last line if a loader's worker raised it, whose message is a traceback."""
    *_, last = str(error).strip().splitlines() or [""]
    return last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ").removeprefix(
        f"{type(error).__name__}: "
    )


def _lies_in(name: object, folder: RunFolder) -> bool:
    return isinstance(name, str) and Path(name).resolve().is_relative_to(folder.path)
