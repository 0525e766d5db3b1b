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
"""How long the workers of a run that was killed may hold its folder; they look for their parent every 5 seconds."""
_LOCKED: set[str] = set()
"""Folders that this process has locked."""


@contextmanager
def locked(path: Path, shown: str) -> Iterator[None]:
    """Keep other runs out of a folder; the system lets go when the process ends, however it ends.

    Args:
        path: The folder.
        shown: Its name in messages.

    Raises:
        ConfigError: A run is at work there.
    """
    if ranks.STARTED_HERE in os.environ:  # the process that has started this one holds it
        yield
        return
    held = path / layout.CONFIG  # written once, never replaced
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
                        f"resume={shown}: another process runs it; wait for its end, or stop it"
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
