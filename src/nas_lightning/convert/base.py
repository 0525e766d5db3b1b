"""What converters share: where they read, where they write, and that nothing is overwritten by accident."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from nas_lightning.core.errors import ConfigError
from nas_lightning.core.one_shot import untracked

Track = Callable[[Sequence[Any], str], Iterable[Any]]
"""Shows progress over a sequence: track(items, title)."""


class Converter:
    """Reads official files and writes one file; a subclass says how in `__call__`.

    Args:
        source: What to read.
        target: The file to write.
        overwrite: Whether the target may exist already.
    """

    ending: tuple[str, ...]
    """Endings that the target may have."""

    def __init__(self, source: str | None = None, target: str | None = None, overwrite: bool = False) -> None:
        self.source = source
        self.target = target
        self.overwrite = overwrite

    def __call__(self, track: Track = untracked) -> Path:
        """Convert.

        Args:
            track: Shows progress.

        Returns:
            The file written.

        Raises:
            ConfigError: The source cannot be used, or the target cannot be written.
        """
        raise NotImplementedError

    def paths(self) -> tuple[Path, Path]:
        """Source and target, checked before anything is read.

        Raises:
            ConfigError: One is not given, the source is missing, the target has another ending, exists already or has
                no folder.
        """
        if self.source is None:
            raise ConfigError("convert.source=null: names nothing to convert; give it with convert.source=PATH")
        source = Path(self.source).expanduser()
        if not source.exists():
            raise ConfigError(
                f"convert.source={self.source}: there is no such file or folder; give convert.source=PATH"
            )
        return source, self.target_path()

    def target_path(self) -> Path:
        """The target, checked.

        Raises:
            ConfigError: It is not given, has another ending, exists already or has no folder.
        """
        if self.target is None:
            raise ConfigError(f"convert.target=null: names no file to write; give convert.target=NAME{self.ending[0]}")
        target = Path(self.target).expanduser()
        if not target.name.endswith(self.ending):
            raise ConfigError(
                f"convert.target={self.target}: must end in {' or '.join(self.ending)}; give"
                f" convert.target={target.name}{self.ending[0]}"
            )
        if target.exists() and not self.overwrite:
            raise ConfigError(
                f"convert.target={self.target}: exists already; choose another name, or convert.overwrite=true"
            )
        if not target.parent.is_dir():
            raise ConfigError(f"convert.target={self.target}: there is no folder {target.parent}; make it first")
        return target
