"""Results kept for later runs: one JSON file a result in a folder, named by the hash of what decides it.

A file appears whole or not at all, and nothing is locked: two runs that compute one result at the same time both write
it, and either file is right. What decides the result is written with it, and compared when it is read.
"""

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_lightning.core.errors import in_one_line
from nas_lightning.core.paths import path_of
from nas_lightning.runs import documents

log = logging.getLogger(__name__)


class KeptResults:
    """Reads and writes kept results.

    Args:
        folder: Folder of the files, which the first result creates; None keeps and finds nothing.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else path_of(folder)

    def find(self, decided_by: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the result that these values decide; None where there is none, or its file is damaged."""
        if self.folder is None:
            return None
        path = self.path(decided_by)
        try:
            content = documents.read_json(path)
            if content["decided_by"] == _plain(decided_by):
                return dict(content["result"])
            log.warning("%s holds the result of another configuration and is not used", path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s cannot be read and is not used: %s", path, in_one_line(error))
        return None

    def keep(self, decided_by: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Write a result; where that fails, say so and go on: it only saves later runs their time."""
        if self.folder is None:
            return
        path = self.path(decided_by)
        # A name of its own: of two processes with one temporary file each could replace the other's half.
        own = path.with_name(f"{path.stem}-{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            documents.write_json(own, {"decided_by": decided_by, "result": result})
            own.replace(path)
        except OSError as error:
            log.warning("%s cannot be written, so later runs cannot use this result: %s", path, in_one_line(error))

    def path(self, decided_by: Mapping[str, Any]) -> Path:
        """Return the file of the result that these values decide."""
        assert self.folder is not None
        text = json.dumps(decided_by, sort_keys=True)
        return self.folder / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.json"


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back: tuples are lists, keys are text."""
    return json.loads(json.dumps(value))
