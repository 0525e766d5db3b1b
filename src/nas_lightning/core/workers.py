"""Processes that load images, and what becomes of them: killed, out of shared memory, out of open files.

torch reports their end as a RuntimeError wherever the main process happens to be, and Lightning's tear-down may raise
another error over it. So the words of an error and of those before it decide.
"""

import errno
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

NO_ROOM, NO_FILES = 74, 75
"""Exit codes of a process that could not hand over a batch: no shared memory is left, no more files may be opened."""
SHARED_MEMORY = Path("/dev/shm")
MIB = 2**20

_ENDED = re.compile(r"DataLoader worker \(pid.*\) (?:is killed|exited unexpectedly)")
_NO_FILES = re.compile(r"Too many open files|received \d+ items of ancdata")
_NO_ROOM = re.compile(r"No space left on device|unable to (?:mmap|resize|allocate shared|write to)")
_NO_PROCESS = (errno.EAGAIN, errno.ENOMEM)


def errors_before(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and those that were being handled when it was raised."""
    current: BaseException | None = error
    seen: set[int] = set()  # a chain may be a circle
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def reason_of_end(error: BaseException) -> str | None:
    """Return why processes that load images have failed; None if an error, or one before it, reports no such thing."""
    for one in errors_before(error):
        reason = _reason(one)
        if reason is not None:
            return reason
    return None


def reason_of_start(error: OSError) -> str | None:
    """Return why processes that load images could not be started; None if the error is about something else."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return too_many_files()
    if error.errno == errno.ENOSPC:
        return no_room()
    if error.errno in _NO_PROCESS:
        return f"no further process can be started ({error.strerror})"
    return None


def cannot_hand_over(error: BaseException) -> int | None:
    """Return the exit code of a process that cannot hand over a batch for this reason; None for another reason."""
    for one in errors_before(error):
        if _NO_FILES.search(str(one)):
            return NO_FILES
        if _NO_ROOM.search(str(one)):
            return NO_ROOM
    return None


def no_room() -> str:
    """Describe a full /dev/shm, with its size where it can be read."""
    size = ""
    if SHARED_MEMORY.exists():
        space = os.statvfs(SHARED_MEMORY)
        size = f" of {space.f_blocks * space.f_frsize / MIB:.4g} MiB"
    return f"processes that load images found no room in {SHARED_MEMORY}{size} (containers get more by --shm-size=8g)"


def too_many_files() -> str:
    """Describe the limit on open files."""
    import resource  # not on Windows, which has no such limit

    return f"too many open files (ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]})"


def _reason(error: BaseException) -> str | None:
    words = str(error)
    if isinstance(error, RuntimeError) and _NO_FILES.search(words):
        return too_many_files()
    if not (isinstance(error, RuntimeError) and _ENDED.search(words)):
        return None
    code = re.search(r"exit code (\d+)", words)
    if code and int(code[1]) in (NO_ROOM, NO_FILES):
        return no_room() if int(code[1]) == NO_ROOM else too_many_files()
    killed = re.search(r"killed by signal: ([\w :]+?)\.", words)
    number = next((n for n in signal.Signals if killed and signal.strsignal(n) == killed[1]), None)
    if number == signal.SIGBUS:
        return f"a process that loads images ended with SIGBUS: {no_room()}"
    if number is not None:
        why = ", as the system does where memory runs out" if number == signal.SIGKILL else ""
        return f"a process that loads images was ended by {number.name}{why}"
    return f"a process that loads images ended{f' with exit code {code[1]}' if code else ''}"
