"""What a machine can do to a run, told in one line that says how to go on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed import DistError

from nas_lightning.core import ranks
from nas_lightning.core.errors import DataError, MachineError
from nas_lightning.runs.folder import RunFolder

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""No room: the disk, the user's quota, or the largest size of a file."""


@contextmanager
def told(folder: RunFolder) -> Iterator[None]:
    """Turn failures of the disk, the folder and the images into one line; the folder can be resumed.

    Raises:
        MachineError: Such a failure.
    """
    try:
        yield
    except DataError as error:
        line = f"{_last_line(error)}; put the images back as they were, then continue with resume={folder}"
        raise MachineError(line) from error
    except RuntimeError as error:
        if ranks.count() == 1 or (not isinstance(error, DistError) and "gloo" not in str(error)):
            raise
        raise MachineError(
            f"a process of the run has ended or cannot be reached; see run.log and run.rank1.log, then continue with"
            f" resume={folder}"
        ) from error
    except OSError as error:
        if error.errno in FULL:
            what = f"{folder} cannot be written, there is no room ({error.strerror}): free some"
        elif _lies_in(error.filename, folder):
            what = f"{error.filename} cannot be written or read ({error.strerror}): mend that"
        else:
            what = f"{type(error).__name__}: {_last_line(error)}: mend that"
        raise MachineError(f"{what}, then continue with resume={folder}") from error


def _last_line(error: Exception) -> str:
    """The message; of an error in a loader's worker, whose message is a traceback, the end of it."""
    *_, last = str(error).strip().splitlines() or [""]
    return last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ").removeprefix(
        f"{type(error).__name__}: "
    )


def _lies_in(name: object, folder: RunFolder) -> bool:
    return isinstance(name, str) and Path(name).resolve().is_relative_to(folder.path)
