"""Machine failures: reported in one line that names the command to resume with."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.distributed import DistError

from nas_lightning.core import ranks
from nas_lightning.core.errors import DataError, LoadingError, MachineError
from nas_lightning.core.workers import errors_before, reason_of_end, too_many_files
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
        raise MachineError(
            f"{_last_line(error)}; put the images back as they were, then continue with {folder.command()}, or add"
            " their new place to it, data.path=PLACE or data.root=PLACE"
        ) from error
    except LoadingError as error:
        raise MachineError(_without_workers(str(error), folder)) from error
    except (RuntimeError, MemoryError) as error:
        if _is_out_of_memory(error):
            raise MachineError(
                f"out of memory ({_last_line(error)[:200]}): free some, then continue with {folder.command()}; or begin"
                " anew with a smaller search.batch_size, evaluation.batch_size or callbacks.curvature.images"
            ) from error
        reason = reason_of_end(error) or _start_before(error)
        if reason is not None:
            raise MachineError(_without_workers(reason, folder)) from error
        # Gloo raises a plain RuntimeError when a peer is gone; only its text distinguishes it from a bug.
        if ranks.count() == 1 or (not isinstance(error, DistError) and "gloo" not in str(error)):
            raise
        raise MachineError(
            f"another process of the run ended or cannot be reached; see run.log and run.rank1.log, then continue with"
            f" {folder.command()}"
        ) from error
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            problem = f"{too_many_files()}: allow more, ulimit -n 65536"
        elif error.errno in FULL:
            problem = f"{folder} cannot be written, no space is left ({error.strerror}): free some"
        elif _lies_in(error.filename, folder):
            problem = f"{error.filename} cannot be written or read ({error.strerror}): fix that"
        else:
            problem = f"{type(error).__name__}: {_last_line(error)}: fix that"
        raise MachineError(f"{problem}, then continue with {folder.command()}") from error


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _without_workers(reason: str, folder: RunFolder) -> str:
    """Return the line about processes that load images, with the command that loads in the training process."""
    return f"{reason}; continue with fewer of them, or none: {folder.command('data.num_workers=0')}"


def _start_before(error: Exception) -> str | None:
    """Return why processes that load images could not be started, where Lightning's tear-down raised another error."""
    found = (str(one) for one in errors_before(error) if isinstance(one, LoadingError))
    return next(found, None)


def _last_line(error: Exception) -> str:
    """Return the message of an error; the last line if a loader's worker raised it, whose message is a traceback."""
    *_, last = str(error).strip().splitlines() or [""]
    return last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ").removeprefix(
        f"{type(error).__name__}: "
    )


def _lies_in(name: object, folder: RunFolder) -> bool:
    return isinstance(name, str) and Path(name).resolve().is_relative_to(folder.path)
