"""Name run folders on a page without the place of the machine that they lie on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

# Two slashes at least: `a/b` is a fraction or a relative path, `https://…` an address.
_ABSOLUTE = re.compile(r"(?<![\w.~:/…])/(?:[^\s/'\"]+/)+([^\s/'\"]*)")


class Folders:
    """Give folders names relative to the working folder, or else to the folder that all runs share.

    Args:
        runs: Absolute run folders.
        here: The working folder; None takes that of the process.
    """

    def __init__(self, runs: Iterable[str], here: Path | None = None) -> None:
        parents = sorted({str(Path(run).parent) for run in runs})
        base = Path.cwd() if here is None else here
        if parents and not all(Path(parent).is_relative_to(base) for parent in parents):
            base = Path(os.path.commonpath(parents))
        self._base = base

    def name(self, folder: str) -> str:
        """Return the relative name of a folder; of one that lies elsewhere, its last part after `…/`."""
        path = Path(folder)
        if path.is_relative_to(self._base):
            return path.relative_to(self._base).as_posix()
        return f"…/{path.name}" if path.is_absolute() else path.as_posix()

    def hide(self, text: str) -> str:
        """Shorten every absolute path in a text.

        >>> Folders(["/home/me/runs/a", "/home/me/runs/b"], Path("/home/me")).hide("/home/me/runs/a: no '/etc/x/y'")
        "runs/a: no '…/y'"
        """
        base = str(self._base).rstrip("/")
        return _ABSOLUTE.sub(r"…/\1", text.replace(f"{base}/", "") if base else text)
