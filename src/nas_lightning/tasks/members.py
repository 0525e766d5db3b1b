"""Members of a run: the runs within it, each in a folder of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from nas_lightning.core.errors import Interrupted
from nas_lightning.runs.folder import RunFolder


@contextmanager
def stopping_in(what: str, folder: RunFolder) -> Iterator[None]:
    """Name the member in which a run is stopped.

    Args:
        what: The member, in words.
        folder: The folder of the whole run, which is what can be resumed.

    Raises:
        Interrupted: The user stopped the member.
    """
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        raise Interrupted(f"stopped in {what}; continue with {folder.command()}") from error
