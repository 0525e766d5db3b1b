"""The base class of converters, which checks source and target and protects existing files."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.one_shot import untracked
from nas_lightning.core.paths import exists, is_directory, path_of, shown

Track = Callable[[Sequence[Any], str], Iterable[Any]]
"""Shows progress over a sequence: track(items, title)."""


class Converter:
    """Converts a source to one file; a subclass implements `__call__`.

    Args:
        source: The file or folder to read.
        target: The file to write.
        overwrite: Whether to replace an existing target.
    """

    ending: tuple[str, ...]
    """Allowed endings of the target."""

    def __init__(self, source: str | None = None, target: str | None = None, overwrite: bool = False) -> None:
        self.source = source
        self.target = target
        self.overwrite = overwrite

    def __call__(self, track: Track = untracked) -> Path:
        """Convert the source to the target.

        Args:
            track: Shows progress.

        Returns:
            Path of the file written.

        Raises:
            ConfigError: The source cannot be used, or the target cannot be written.
        """
        raise NotImplementedError

    def paths(self) -> tuple[Path, Path]:
        """Check and return source and target, before anything is read.

        Raises:
            ConfigError: Either is not given, the source is missing, or the target has another ending, exists already or
                has no folder.
        """
        if self.source is None:
            raise ConfigError("convert.source=null: no source is given; give one with convert.source=PATH")
        source = path_of(self.source)
        if not exists(source):
            raise ConfigError(
                f"convert.source={shown(self.source)}: there is no such file or folder; give convert.source=PATH"
            )
        return source, self.target_path()

    def target_path(self) -> Path:
        """Check and return the target.

        Raises:
            ConfigError: It is not given, has another ending, exists already or has no folder.
        """
        if self.target is None:
            raise ConfigError(f"convert.target=null: no target is given; use convert.target=NAME{self.ending[0]}")
        target = path_of(self.target)
        if not target.name.endswith(self.ending):
            raise ConfigError(
                f"convert.target={self.target}: must end in {' or '.join(self.ending)}; give"
                f" convert.target={target.name}{self.ending[0]}"
            )
        if len(os.fsencode(target.name)) > 255:
            raise ConfigError(
                f"convert.target={shown(self.target)}: the name is too long; give one of at most 255 bytes"
            )
        if exists(target) and not self.overwrite:
            raise ConfigError(
                f"convert.target={self.target}: exists already; give another name, or convert.overwrite=true"
            )
        if not is_directory(target.parent):
            raise ConfigError(
                f"convert.target={shown(self.target)}: there is no folder {shown(target.parent)}; create it first"
            )
        return target
