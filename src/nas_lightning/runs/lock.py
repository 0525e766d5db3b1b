"""The lock of a run folder: two processes never run in one folder."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from nas_lightning.core import ranks
from nas_lightning.core.errors import ConfigError
from nas_lightning.runs import layout

log = logging.getLogger(__name__)

LOCK_SECONDS = 10
"""Seconds to wait for a lock: loader workers of a killed run hold it until they check for their parent, every 5 s."""
_LOCKED: set[str] = set()
"""Folders that this process has locked: a second lock of one, by a part of the run, is granted."""


@contextmanager
def locked(path: Path, shown: str) -> Iterator[None]:
    """Hold the lock of a folder; the system releases it when the process ends, however it ends.

    Nothing is locked on ranks other than 0, on Windows, in a folder without a configuration, and on file systems
    without locks.

    Args:
        path: The folder.
        shown: Name of the folder in messages.

    Raises:
        ConfigError: Another process still holds the lock after `LOCK_SECONDS`.
    """
    if ranks.STARTED_HERE in os.environ:  # its parent holds the lock
        yield
        return
    held = path / layout.CONFIG  # never replaced: replacing a file would drop its lock
    if fcntl is None or not ranks.is_first() or str(path) in _LOCKED or not held.exists():
        yield
        return
    with held.open() as file:
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise ConfigError(
                        f"resume={shown}: another process runs it; wait until it ends, or stop it"
                    ) from error
                time.sleep(0.2)
                continue
            except OSError as error:  # a file system without locks
                log.info("%s cannot be locked: %s", shown, error)
            break
        _LOCKED.add(str(path))
        try:
            yield
        finally:
            _LOCKED.remove(str(path))
